//! What a model gives: whether it is what one wants of a backbone.

use super::onnx::{ModelProto, NodeProto};

/// Where the output looks like a classifier's scores, the value that the classifier has them from: a product with a matrix
/// straight behind the global mean, and at most a softmax after it. One vector a class says less of an image than the mean.
pub fn before_scores(proto: &ModelProto) -> Option<String> {
    let graph = proto.graph.as_ref()?;
    let maker = |value: &str| graph.node.iter().find(|node| node.output.iter().any(|output| output == value));
    let is_weight = |value: &String| graph.initializer.iter().any(|tensor| tensor.name() == value);
    let [output] = &graph.output[..] else { return None };
    let mut node = maker(output.name())?;
    // Backwards, past the bias of a product too.
    let skips = |node: &NodeProto| match node.op_type() {
        "Softmax" | "LogSoftmax" | "Sigmoid" | "Identity" | "Cast" | "Reshape" | "Flatten" | "Squeeze" => {
            true
        }
        "Add" => node.input.iter().any(is_weight),
        _ => false,
    };
    while skips(node) {
        node = maker(node.input.iter().find(|input| !is_weight(input))?)?;
    }
    let weighs = matches!(node.op_type(), "Gemm" | "MatMul") && node.input.get(1).is_some_and(is_weight);
    let features = node.input.first().filter(|_| weighs)?.clone();
    let mut node = maker(&features)?;
    while matches!(node.op_type(), "Flatten" | "Reshape" | "Squeeze" | "Identity" | "Dropout" | "Cast") {
        node = maker(node.input.first()?)?;
    }
    matches!(node.op_type(), "GlobalAveragePool" | "ReduceMean" | "AveragePool").then_some(features)
}

/// The command that leaves a model ending in another value.
/// Source: <https://onnx.ai/onnx/api/utils.html>.
pub fn cut_at(model: &str, input: &str, value: &str) -> String {
    let model = model.rsplit(['/', '\\']).next().unwrap_or_default();
    format!(
        "python -c \"import onnx; onnx.utils.extract_model('{model}', 'features.onnx', ['{input}'], ['{value}'])\""
    )
}
