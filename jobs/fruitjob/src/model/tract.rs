//! The general engine: any image backbone, through tract.

use std::sync::Arc;

use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;

use super::{Backbone, MAX_FEATURES, Session};
use crate::error::{Error, Result, caught};
use crate::preprocess::{Layout, Preprocessing};

struct Tract {
    plan: Arc<TypedSimplePlan>,
    layout: Layout,
    shape: [usize; 4],
    features: usize,
}

/// Compiles the graph for one image of the preprocessing's size, and runs it once to see that it gives one
/// finite vector.
pub fn compile(proto: &ModelProto, preprocessing: &Preprocessing) -> Result<impl Backbone + use<>, String> {
    // tract indexes and unwraps where a graph contradicts itself.
    caught(|| compile_sound(proto, preprocessing)).unwrap_or_else(|why| {
        Err(format!("it is damaged, or made in a way that tract does not know ({why})"))
    })
}

fn compile_sound(proto: &ModelProto, preprocessing: &Preprocessing) -> Result<Tract, String> {
    let [h, w] = preprocessing.size.map(|s| s as usize);
    let shape = match preprocessing.layout {
        Layout::Nchw => [1, 3, h, w],
        Layout::Nhwc => [1, h, w, 3],
    };
    let typed = || -> TractResult<TypedModel> {
        // tract refuses shapes with the symbolic batch that exporters like to leave on inner values and
        // outputs; it infers them all from the input's.
        tract_onnx::onnx()
            .with_ignore_value_info(true)
            .with_ignore_output_shapes(true)
            .model_for_proto_model(proto)?
            .with_input_fact(0, f32::fact(shape).into())?
            .into_typed()
    };
    let typed = typed().map_err(|e| format!("it cannot be run at {h}x{w} pixels: {}", causes(&e)))?;
    let output = typed.output_fact(0).ok().and_then(|fact| fact.shape.as_concrete().map(<[_]>::to_vec));
    let features = match output.as_deref() {
        Some([1, features]) | Some([1, features, 1, 1]) | Some([1, 1, 1, features]) => *features,
        Some(dims @ [1, _, _, _]) => {
            return Err(format!(
                "its output of shape {dims:?} is a feature map, not a vector; export it with global average pooling"
            ));
        }
        Some(dims) => return Err(format!("its output of shape {dims:?} is not one vector an image")),
        None => return Err("the shape of its output is not known".into()),
    };
    if !(2..=MAX_FEATURES).contains(&features) {
        return Err(format!("it gives {features} features; 2 to {MAX_FEATURES} are possible"));
    }
    let plan = typed
        .into_optimized()
        .and_then(|m| m.into_runnable())
        .map_err(|e| format!("it cannot be compiled: {}", causes(&e)))?;
    let tract = Tract { plan, layout: preprocessing.layout, shape, features };
    let mut vector = vec![0.0; features];
    tract
        .session()
        .and_then(|mut s| s.run(&vec![0.0; preprocessing.len()], &mut vector))
        .map_err(|e| e.to_string())?;
    if vector.iter().any(|x| !x.is_finite()) {
        return Err("it gives values that are not finite for a plain image".into());
    }
    Ok(tract)
}

impl Backbone for Tract {
    fn engine(&self) -> &str {
        "tract"
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn features(&self) -> usize {
        self.features
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        let state = self.plan.spawn().map_err(|e| Error::Usage(format!("model: {}", causes(&e))))?;
        Ok(Box::new(TractSession { state, shape: self.shape }))
    }
}

struct TractSession {
    state: TypedSimpleState,
    shape: [usize; 4],
}

impl Session for TractSession {
    fn run(&mut self, tensor: &[f32], features: &mut [f32]) -> Result<()> {
        let mut run = || -> TractResult<()> {
            let input = Tensor::from_shape(&self.shape, tensor)?;
            let outputs = self.state.run(tvec!(input.into_tvalue()))?;
            let output = outputs[0].cast_to::<f32>()?;
            features.copy_from_slice(output.try_as_plain_ram()?.as_slice::<f32>()?);
            Ok(())
        };
        run().map_err(|e| Error::Failed(format!("the model failed on an image: {}", causes(&e))))
    }
}

/// The chain of causes in one line, first to last, without the node dumps.
fn causes(err: &TractError) -> String {
    let mut parts: Vec<String> = err
        .chain()
        .map(|cause| cause.to_string().lines().next().unwrap_or_default().chars().take(200).collect())
        .collect();
    parts.dedup();
    parts.join(": ")
}
