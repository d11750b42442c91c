//! What a graph must be for the general engine: some that ONNX allows are made others that mean the same, and some are
//! refused, for rten 0.27 runs them and gives other numbers. Found by ONNX's own tests of operators:
//! docs/reference/models.md.

use super::graph::{self, int, ints, node};
use super::onnx::{GraphProto, ModelProto, NodeProto};

/// The same graph, as rten takes it.
///
/// # Errors
/// The first operator that would come out wrong, and what to do.
pub fn rewrite(mut proto: ModelProto) -> Result<ModelProto, String> {
    for node in graph::nodes(&proto) {
        if let Some(why) = wrong(node) {
            let name = node.name();
            return Err(format!("its operator {} {name} {why}", node.op_type()));
        }
    }
    let opset =
        proto.opset_import.iter().find(|o| matches!(o.domain(), "" | "ai.onnx")).map_or(1, |o| o.version());
    let weights: Vec<(String, Vec<i64>)> = proto
        .graph
        .iter()
        .flat_map(|g| &g.initializer)
        .map(|t| (t.name().to_owned(), t.dims.clone()))
        .collect();
    let Some(graph) = &mut proto.graph else { return Ok(proto) };
    for node in &mut graph.node {
        let spatial = match node.op_type() {
            "Conv" | "ConvTranspose" => {
                let weight = node.input.get(1).and_then(|name| weights.iter().find(|(w, _)| w == name));
                weight.map(|(_, dims)| dims[dims.len().min(2)..].to_vec())
            }
            "MaxPool" | "AveragePool" => graph::attribute(node, "kernel_shape").map(|a| a.ints.clone()),
            _ => None,
        };
        if let Some(kernel) = spatial {
            fill(node, "kernel_shape", &kernel);
            fill(node, "strides", &vec![1; kernel.len()]);
        }
        if node.op_type() == "QuantizeLinear" && graph::attribute(node, "axis").is_none() {
            node.attribute.push(int("axis", 1));
        }
    }
    if opset < 13 {
        flatten_softmax(graph);
    }
    Ok(proto)
}

/// Why an operator is not to be trusted, and what to do.
fn wrong(node: &NodeProto) -> Option<&'static str> {
    let text = |name: &str| graph::attribute(node, name).map_or(&b""[..], |a| a.s());
    match node.op_type() {
        "DynamicQuantizeLinear" | "ConvInteger" | "MatMulInteger" => Some(
            "quantises while it runs, which gives other numbers here; export it in float, or quantised statically \
             (QuantizeLinear and DequantizeLinear)",
        ),
        "Conv" | "ConvTranspose" | "MaxPool" | "AveragePool" if text("auto_pad") == b"SAME_LOWER" => Some(
            "is padded by auto_pad=SAME_LOWER, which gives other numbers here; export it with explicit pads",
        ),
        "Resize" if text("mode") == b"cubic" => {
            Some("resizes by cubic interpolation, which is not known here; export it with linear or nearest")
        }
        _ => None,
    }
}

fn fill(node: &mut NodeProto, name: &str, values: &[i64]) {
    if graph::attribute(node, name).is_none() {
        node.attribute.push(ints(name, values));
    }
}

/// Before opset 13, Softmax was over all axes from `axis` (1, where it is not said) on.
/// Source: <https://onnx.ai/onnx/operators/onnx__Softmax.html>, version 11.
fn flatten_softmax(graph: &mut GraphProto) {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut softmax in std::mem::take(&mut graph.node) {
        let axis = graph::attribute(&softmax, "axis").map_or(1, |a| a.i());
        if !matches!(softmax.op_type(), "Softmax" | "LogSoftmax") || axis == -1 {
            nodes.push(softmax);
            continue;
        }
        let (input, output) = (softmax.input[0].clone(), softmax.output[0].clone());
        let [shape, flat, done] = ["shape", "flat", "softmax"].map(|what| format!("{output}/{what}"));
        softmax.input = vec![flat.clone()];
        softmax.output = vec![done.clone()];
        softmax.attribute = vec![int("axis", -1)];
        nodes.push(node("Shape", &[&input], &shape, vec![]));
        nodes.push(node("Flatten", &[&input], &flat, vec![int("axis", axis)]));
        nodes.push(softmax);
        nodes.push(node("Reshape", &[&done, &shape], &output, vec![]));
    }
    graph.node = nodes;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::backbone::Backbone;
    use crate::model::general;
    use crate::model::graph::{tensor, value, whole};
    use crate::model::onnx::OperatorSetIdProto;
    use fruitjob_interface::model::{Color, Layout, Preprocessing};

    /// A graph from `image` to `out`, of two output channels' weights where it needs some, at 4x4 pixels.
    fn proto(opset: i64, nodes: Vec<NodeProto>) -> ModelProto {
        let mut graph = GraphProto { node: nodes, ..Default::default() };
        graph.input.push(value("image", &[Err("N"), Ok(3), Ok(4), Ok(4)]));
        graph.output.push(value("out", &[Err("N"), Err("D")]));
        graph.initializer.push(tensor("weight", &[2, 3, 2, 2], &[0.25; 24]));
        let version = OperatorSetIdProto { version: Some(opset), ..Default::default() };
        ModelProto {
            ir_version: Some(7),
            opset_import: vec![version],
            graph: Some(graph),
            ..Default::default()
        }
    }

    fn features(proto: &ModelProto) -> Result<Vec<f32>, String> {
        let [mean, std] = [[0.0; 3], [1.0; 3]];
        let preprocessing = Preprocessing {
            size: [4, 4],
            resize: 4,
            mean,
            std,
            color: Color::Rgb,
            layout: Layout::Nchw,
            resample: Default::default(),
            fit: Default::default(),
            exif_orientation: Default::default(),
        };
        let backbone = general::compile(proto, &preprocessing)?;
        let mut features = vec![f32::NAN; backbone.features()];
        let image: Vec<f32> = (0..48).map(|i| i as f32 / 16.0).collect();
        backbone.session().unwrap().run(&image, &mut features).unwrap();
        Ok(features)
    }

    #[test]
    fn an_old_softmax_is_over_all_axes_from_its_own_on() {
        let mean = || node("GlobalAveragePool", &["image"], "mean", vec![]);
        let old = features(&proto(11, vec![mean(), node("Softmax", &["mean"], "out", vec![])])).unwrap();
        // Means are 15/32, 47/32 and 79/32: one apart.
        let e = std::f32::consts::E;
        let want = [1.0, e, e * e].map(|x| x / (1.0 + e + e * e));
        assert!(old.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{old:?}");
    }

    #[test]
    fn what_onnx_lets_out_is_filled_in() {
        let conv = node("Conv", &["image", "weight"], "map", vec![]);
        let pool = node("MaxPool", &["map"], "pooled", vec![ints("kernel_shape", &[3, 3])]);
        let flat = node("Flatten", &["pooled"], "out", vec![]);
        let got = features(&proto(17, vec![conv, pool, flat])).unwrap();
        // The mean of four pixels, summed over three colours, largest at the lower right.
        let corner = |c: f32| (c * 16.0 + 10.0 + c * 16.0 + 11.0 + c * 16.0 + 14.0 + c * 16.0 + 15.0) / 64.0;
        let want: f32 = [0.0, 1.0, 2.0].map(corner).iter().sum();
        assert!(got.len() == 2 && got.iter().all(|x| (x - want).abs() < 1e-5), "{got:?} {want}");
    }

    #[test]
    fn what_would_come_out_wrong_is_refused() {
        let text = |name: &str, value: &str| crate::model::onnx::AttributeProto {
            name: Some(name.into()),
            r#type: Some(crate::model::onnx::attribute_proto::AttributeType::String as i32),
            s: Some(value.into()),
            ..Default::default()
        };
        for (node, word) in [
            (node("ConvInteger", &["image", "weight"], "out", vec![]), "quantises"),
            (node("Conv", &["image", "weight"], "out", vec![text("auto_pad", "SAME_LOWER")]), "SAME_LOWER"),
            (node("Resize", &["image"], "out", vec![text("mode", "cubic")]), "cubic"),
        ] {
            let why = features(&proto(17, vec![node])).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }

    /// Of an image made larger: what it takes is known before it is taken.
    #[test]
    fn a_model_that_needs_vast_memory_for_an_image_is_refused() {
        let of = |op: &str, lengths: &[i64]| {
            let large = node(op, &["image", "lengths"], "large", vec![]);
            let mut proto = proto(17, vec![large, node("GlobalAveragePool", &["large"], "out", vec![])]);
            proto.graph.as_mut().unwrap().initializer.push(whole("lengths", lengths));
            features(&proto).map(drop)
        };
        assert_eq!(of("Tile", &[1, 1, 4, 4]), Ok(()));
        assert_eq!(of("Pad", &[0, 0, 4, 4, 0, 0, 0, 0]), Ok(()));
        let why = of("Tile", &[1, 1, 4000, 4000]).unwrap_err();
        assert!(why.contains("its node 'large' (Tile) needs 2.9 GiB for an image"), "{why}");
        let why = of("Pad", &[0, 0, 40_000, 40_000, 0, 0, 0, 0]).unwrap_err();
        assert!(why.contains("its node 'large' (Pad) needs 17.9 GiB for an image"), "{why}");
    }
}
