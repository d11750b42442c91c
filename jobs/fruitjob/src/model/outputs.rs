//! What a model gives: which of its values, and whether that is what one wants of a backbone.

use super::graph;
use super::onnx::{ModelProto, NodeProto, ValueInfoProto};
use crate::util::shown;

/// Makes a value the only output: the one that is named, by its own name or by that of the node which makes it; without a
/// name the output that the model has. Returns the value's name, where it was not the only output already.
///
/// # Errors
/// It has several outputs, or no such value; for the user.
pub fn choose(proto: &mut ModelProto, wanted: Option<&str>) -> Result<Option<String>, String> {
    let graph = proto.graph.as_mut().ok_or("it has no graph")?;
    let names: Vec<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
    let list = || names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    let Some(wanted) = wanted else {
        return match names[..] {
            [_] => Ok(None),
            [] => Err("it has no output".into()),
            [first, ..] => Err(format!(
                "it has {} outputs ({}), and a backbone has one; choose it: {}",
                names.len(),
                list(),
                flag(first)
            )),
        };
    };
    if names[..] == [wanted] {
        return Ok(None);
    }
    let is_made =
        |value: &str| graph.node.iter().any(|node| node.output.iter().any(|output| output == value));
    let by_node = || graph.node.iter().find(|node| node.name() == wanted)?.output.first();
    let value = match is_made(wanted) {
        true => wanted.to_owned(),
        false => by_node()
            .ok_or_else(|| {
                let last = graph.node.iter().rev().filter_map(|node| node.output.first()).take(8);
                let last: Vec<_> = last.map(|value| shown(value)).collect();
                format!(
                    "it has no value '{}' for --output-node; its outputs: {}; the last values inside: {}",
                    shown(wanted),
                    list(),
                    last.join(", ")
                )
            })?
            .clone(),
    };
    let known = graph.output.iter().chain(&graph.value_info).find(|known| known.name() == value).cloned();
    graph.output = vec![known.unwrap_or_else(|| graph::value(&value, &[]))];
    Ok(Some(value))
}

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

/// The option that takes a value for the output; in words, where its name, which somebody else has chosen, could be more
/// than a name to a shell.
pub fn flag(value: &str) -> String {
    let is_plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "_./:-".contains(c));
    if is_plain { format!("--output-node={value}") } else { "--output-node, with its name".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> ModelProto {
        let node = |input: &str, name: &str, output: &str| {
            let mut node = graph::node("Relu", &[input], output, Vec::new());
            node.name = Some(name.into());
            node
        };
        let output = vec![graph::value("a", &[]), graph::value("b", &[])];
        let nodes =
            vec![node("image", "first", "inner"), node("inner", "second", "a"), node("a", "third", "b")];
        let graph = super::super::onnx::GraphProto { node: nodes, output, ..Default::default() };
        ModelProto { graph: Some(graph), ..Default::default() }
    }

    #[test]
    fn one_value_is_the_output() {
        let outputs = |proto: &ModelProto| -> Vec<String> {
            proto.graph.iter().flat_map(|g| &g.output).map(|o| o.name().to_owned()).collect()
        };
        for (wanted, value) in [("b", "b"), ("inner", "inner"), ("second", "a")] {
            let mut proto = two();
            assert_eq!(choose(&mut proto, Some(wanted)), Ok(Some(value.into())));
            assert_eq!(outputs(&proto), [value]);
            // It is the only one now.
            assert_eq!(choose(&mut proto, Some(value)), Ok(None));
            assert_eq!(choose(&mut proto, None), Ok(None));
        }
        let why = choose(&mut two(), None).unwrap_err();
        assert!(why.contains("2 outputs (a, b)") && why.ends_with("--output-node=a"), "{why}");
        let why = choose(&mut two(), Some("c")).unwrap_err();
        assert!(why.contains("no value 'c'") && why.contains("inside: b, a, inner"), "{why}");
    }

    /// It is pasted into a shell.
    #[test]
    fn an_option_is_made_of_plain_names_alone() {
        assert_eq!(flag("features:0"), "--output-node=features:0");
        for name in ["$(touch x)", "`x`", "a'b", "a\"b", "a b"] {
            assert!(!flag(name).contains(name), "{name}");
        }
    }
}
