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

/// The command that leaves a model of this machine ending in another value; in words, where one of the names, which
/// somebody else may have chosen, could be more than a name to a shell.
/// Source: <https://onnx.ai/onnx/api/utils.html>.
pub fn cut_at(model: &str, input: &str, value: &str) -> String {
    let is_plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "_./:-".contains(c));
    if model.contains("://") || ![model, input, value].into_iter().all(is_plain) {
        return "cut it there with onnx.utils.extract_model of Python's onnx".into();
    }
    format!(
        "python -c \"import onnx; onnx.utils.extract_model('{model}', 'features.onnx', ['{input}'], ['{value}'])\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is pasted into a shell.
    #[test]
    fn a_command_is_made_of_plain_names_alone() {
        let command = cut_at("models/m.onnx", "image", "features:0");
        assert!(command.starts_with("python -c ") && command.contains("'models/m.onnx'"), "{command}");
        for name in ["$(touch x)", "`x`", "a'b", "a\"b", "a b"] {
            assert!(!cut_at("m.onnx", "image", name).contains(name), "{name}");
            assert!(!cut_at(name, "image", "features").contains(name), "{name}");
        }
        assert!(!cut_at("s3://b/m.onnx", "image", "features").contains("python -c"));
    }
}
