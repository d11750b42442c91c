//! The general engine: any image backbone, through rten. Which exporters and architectures were tried, and what came
//! out: docs/reference/models.md.

use std::sync::Arc;

use fruitjob_interface::model::{Layout, Preprocessing};
use prost::Message;
use rten::{Dimension, ModelOptions, NodeId, RunError, RunOptions, ThreadPool, ValueView};
use rten_tensor::Layout as _;

use super::backbone::{Backbone, MAX_FEATURES, Session};
use super::graph;
use super::onnx::ModelProto;
use super::rewrite::rewrite;
use crate::error::{Error, Result};
use crate::util::caught;

struct General {
    model: rten::Model,
    input: NodeId,
    output: NodeId,
    layout: Layout,
    shape: [usize; 4],
    features: usize,
}

/// Shape and elements of an output.
type Output = (Vec<usize>, Vec<f32>);

/// Compiles the graph for one image of the preprocessing's size, and runs it once to see that it gives one
/// finite vector.
///
/// # Errors
/// Why it cannot be done, for the user.
pub fn compile(proto: &ModelProto, preprocessing: &Preprocessing) -> Result<impl Backbone + use<>, String> {
    // A graph that contradicts itself must not end the process.
    caught(|| compile_sound(proto, preprocessing))
        .unwrap_or_else(|why| Err(format!("it is damaged, or made in a way that is not known here ({why})")))
}

fn compile_sound(proto: &ModelProto, preprocessing: &Preprocessing) -> Result<General, String> {
    let [h, w] = preprocessing.size.map(|s| s as usize);
    let shape = match preprocessing.layout {
        Layout::Nchw => [1, 3, h, w],
        Layout::Nhwc => [1, h, w, 3],
    };
    graph::refuse_vast(proto)?;
    let fixed = rewrite(graph::with_input_shape(proto, shape)?)?;
    let model = ModelOptions::with_all_ops()
        .prepack_weights(true)
        .load(fixed.encode_to_vec())
        .map_err(|e| {
            format!(
                "it cannot be run at {h}x{w} pixels: {}; what is reckoned with constants alone can be taken out before: \
                 pip install onnxsim; python -m onnxsim MODEL.onnx simplified.onnx",
                one_line(&e)
            )
        })?;
    refuse_vast_values(&model, &fixed)?;
    let name = graph::input(proto)?.name();
    let input = model.find_node(name).ok_or_else(|| format!("its input {name} leads nowhere"))?;
    let [output] = *model.output_ids() else {
        return Err(format!("it has {} outputs; a backbone has one", model.output_ids().len()));
    };
    let mut general = General { model, input, output, layout: preprocessing.layout, shape, features: 0 };
    let (dims, vector) = general
        .run(&vec![0.0; preprocessing.len()], None)
        .map_err(|e| format!("it cannot be run at {h}x{w} pixels: {}", one_line(&e)))?
        .ok_or("its output is no tensor of floats")?;
    general.features = match dims[..] {
        [1, features] | [1, features, 1, 1] | [1, 1, 1, features] => features,
        [1, _, _, _] => {
            return Err(format!(
                "its output of shape {dims:?} is a feature map, not a vector; export it with global average pooling"
            ));
        }
        _ => return Err(format!("its output of shape {dims:?} is not one vector an image")),
    };
    if !(2..=MAX_FEATURES).contains(&general.features) {
        return Err(format!("it gives {} features; 2 to {MAX_FEATURES} are possible", general.features));
    }
    if vector.iter().any(|x| !x.is_finite()) {
        return Err("it gives values that are not finite for a plain image".into());
    }
    Ok(general)
}

/// Refuses a model whose nodes take and make more than [`graph::MAX_ELEMENTS`] at a time, as far as shapes follow from that of
/// its input: found out before the memory is asked for, since what cannot be had ends the process.
fn refuse_vast_values(model: &rten::Model, proto: &ModelProto) -> Result<(), String> {
    let elements_of = |name: &String| {
        let shape = model.node_info(model.find_node(name)?)?.shape()?;
        let lengths: Option<Vec<usize>> =
            shape.into_iter().map(|d| if let Dimension::Fixed(n) = d { Some(n) } else { None }).collect();
        Some(graph::elements(&lengths?).unwrap_or(usize::MAX))
    };
    for node in graph::nodes(proto) {
        let values = node.input.iter().chain(&node.output).filter_map(elements_of);
        let all = values.fold(0usize, usize::saturating_add);
        if all > graph::MAX_ELEMENTS {
            return Err(format!(
                "its node '{}' ({}) needs {:.1} GiB for an image; {} are allowed",
                crate::util::shown(node.name()),
                node.op_type(),
                all as f64 / (1u64 << 28) as f64,
                graph::MAX_ELEMENTS >> 28,
            ));
        }
    }
    Ok(())
}

impl General {
    /// `None` where the output is no tensor of floats.
    fn run(&self, tensor: &[f32], options: Option<RunOptions>) -> Result<Option<Output>, RunError> {
        let input = ValueView::from_shape(self.shape, tensor).expect("a tensor of the model's shape");
        let [output] = self.model.run_n(vec![(self.input, input.into())], [self.output], options)?;
        Ok(output.into_tensor::<f32>().map(|tensor| (tensor.shape().to_vec(), tensor.into_data())))
    }
}

impl Backbone for General {
    fn engine(&self) -> &str {
        "rten"
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn features(&self) -> usize {
        self.features
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        // A thread each, as for the other engine: the job spreads images over threads, not parts of an image.
        let options = RunOptions::default().with_thread_pool(Some(Arc::new(ThreadPool::with_num_threads(1))));
        Ok(Box::new(GeneralSession { general: self, options }))
    }
}

struct GeneralSession<'a> {
    general: &'a General,
    options: RunOptions,
}

impl Session for GeneralSession<'_> {
    fn run(&mut self, tensor: &[f32], features: &mut [f32]) -> Result<()> {
        let failed = |why: &str| Error::Failed(format!("the model failed on an image: {why}"));
        let ran = caught(|| self.general.run(tensor, Some(self.options.clone())));
        let output = ran.map_err(|why| failed(&why))?.map_err(|e| failed(&one_line(&e)))?;
        match output {
            Some((_, vector)) if vector.len() == features.len() => features.copy_from_slice(&vector),
            _ => return Err(failed("its output has another shape than before")),
        }
        Ok(())
    }
}

/// An error without the dumps of nodes behind it.
fn one_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(300).collect()
}
