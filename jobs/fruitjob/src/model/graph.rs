//! Reading and building ONNX graphs.

use std::collections::{HashMap, HashSet};

use fruitjob_interface::model::Layout;
use prost::Message;

use super::onnx::attribute_proto::AttributeType;
use super::onnx::tensor_proto::DataType;
use super::onnx::tensor_shape_proto::{Dimension, dimension::Value};
use super::onnx::type_proto::{self, Tensor};
use super::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
};

/// Decodes an ONNX file, and refuses what merely happens to parse as protobuf.
pub fn parse(bytes: &[u8]) -> Result<ModelProto, String> {
    let not = "it is not an ONNX file";
    let proto = ModelProto::decode(bytes).map_err(|_| not.to_owned())?;
    match &proto.graph {
        Some(graph) if !graph.node.is_empty() && proto.ir_version() > 0 => Ok(proto),
        _ => Err(not.into()),
    }
}

/// The graph's real input: ONNX before IR 4 lists the weights among the inputs too.
pub fn input(proto: &ModelProto) -> Result<&ValueInfoProto, String> {
    let graph = proto.graph.as_ref().ok_or("it has no graph")?;
    let weights: std::collections::HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    let inputs: Vec<_> = graph.input.iter().filter(|i| !weights.contains(i.name())).collect();
    match inputs[..] {
        [input] => Ok(input),
        _ => Err(format!("it has {} inputs; an image model has one", inputs.len())),
    }
}

/// The nodes of the graph, and of the graphs inside them.
pub fn nodes(proto: &ModelProto) -> impl Iterator<Item = &NodeProto> {
    let mut graphs: Vec<&GraphProto> = proto.graph.iter().collect();
    let mut found = Vec::new();
    while let Some(graph) = graphs.pop() {
        found.extend(&graph.node);
        let attributes = graph.node.iter().flat_map(|node| &node.attribute);
        graphs.extend(attributes.flat_map(|a| a.g.iter().chain(&a.graphs)));
    }
    found.into_iter()
}

/// The same graph for inputs of one shape. What exporters note about inner values and outputs goes: it may be of
/// another batch or size, and follows from the input.
pub fn with_input_shape(proto: &ModelProto, shape: [usize; 4]) -> Result<ModelProto, String> {
    let name = input(proto)?.name().to_owned();
    let mut proto = proto.clone();
    if let Some(graph) = &mut proto.graph {
        graph.value_info.clear();
        for value in graph.input.iter_mut().filter(|i| i.name() == name) {
            *value = self::value(&name, &shape.map(Ok));
        }
        for output in &mut graph.output {
            output.r#type = None;
        }
    }
    Ok(proto)
}

/// Leaves out what the outputs do not depend on, a classifier behind them for example, and puts each node behind those that
/// it takes values of: converters to float16 append theirs at the end.
pub fn prune(proto: &mut ModelProto) {
    let Some(graph) = &mut proto.graph else { return };
    let makers: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(i, node)| node.output.iter().map(move |o| (o.as_str(), i)))
        .collect();
    let mut used: HashSet<String> = graph.output.iter().map(|o| o.name().to_owned()).collect();
    let (mut seen, mut order) = (vec![false; graph.node.len()], Vec::new());
    // What is still to do, the next at the end: a node to look at, or one to place, when all before it are.
    let mut tasks: Vec<(usize, bool)> =
        graph.output.iter().rev().filter_map(|o| Some((*makers.get(o.name())?, false))).collect();
    while let Some((at, is_ready)) = tasks.pop() {
        if is_ready {
            order.push(at);
        } else if !std::mem::replace(&mut seen[at], true) {
            let node = &graph.node[at];
            let mut inputs: Vec<String> = node.input.clone();
            // Graphs inside it may use any value.
            let inner = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
            inner.for_each(|graph| inputs_within(graph, &mut inputs));
            tasks.push((at, true));
            tasks.extend(inputs.iter().rev().filter_map(|input| Some((*makers.get(input.as_str())?, false))));
            used.extend(inputs);
        }
    }
    let mut nodes: Vec<Option<NodeProto>> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
    graph.node = order.into_iter().filter_map(|at| nodes[at].take()).collect();
    let gone: HashSet<String> =
        graph.initializer.iter().map(|t| t.name().to_owned()).filter(|name| !used.contains(name)).collect();
    graph.initializer.retain(|tensor| !gone.contains(tensor.name()));
    // Before IR 4, weights are among the inputs too; without its tensor, one would be taken for an image.
    graph.input.retain(|input| !gone.contains(input.name()));
}

fn inputs_within(graph: &GraphProto, found: &mut Vec<String>) {
    found.extend(graph.output.iter().map(|o| o.name().to_owned()));
    for node in &graph.node {
        found.extend(node.input.iter().cloned());
        node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)).for_each(|g| inputs_within(g, found));
    }
}

/// An entry of a model's metadata.
pub fn property(key: &str, value: impl Into<String>) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) }
}

/// Lengths of the input's axes; `None` where the model leaves one open.
pub fn input_shape(proto: &ModelProto) -> Result<Vec<Option<i64>>, String> {
    let input = input(proto)?;
    let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err("its input is no tensor".into());
    };
    if tensor.elem_type() != DataType::Float as i32 {
        return Err("its input is not float32; export the model with a float32 input".into());
    }
    let shape = tensor.shape.as_ref().ok_or("its input has no shape")?;
    let dim = |d: &Dimension| match d.value {
        Some(Value::DimValue(n)) if n > 0 => Some(n),
        _ => None,
    };
    Ok(shape.dim.iter().map(dim).collect())
}

/// A constant's shape and elements.
#[derive(Debug, Clone)]
pub struct Floats {
    pub dims: Vec<usize>,
    pub data: Vec<f32>,
}

/// Lengths of axes; `None` where one is negative.
fn lengths(dims: &[i64]) -> Option<Vec<usize>> {
    dims.iter().map(|length| usize::try_from(*length).ok()).collect()
}

/// Elements of a tensor; `None` of more than can be counted.
pub(super) fn elements(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |all, length| all.checked_mul(*length))
}

/// The most elements of the tensors that a node may take and make: 2 GiB of f32.
pub(super) const MAX_ELEMENTS: usize = 1 << 29;

/// Refuses nodes that make a tensor of a size that the graph itself says, where that is vast: memory that cannot be had
/// ends the process, and no error comes of it.
///
/// # Errors
/// Which node.
pub fn refuse_vast(proto: &ModelProto) -> Result<(), String> {
    let mut constants: HashMap<&str, Vec<i64>> = HashMap::new();
    let mut shapes: HashMap<&str, Vec<i64>> = HashMap::new();
    let graph = proto.graph.as_ref().ok_or("it has no graph")?;
    let numbers = |tensor: &TensorProto| match tensor.raw_data() {
        [] => tensor.int64_data.clone(),
        raw => raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
    };
    constants.extend(graph.initializer.iter().map(|tensor| (tensor.name(), numbers(tensor))));
    shapes.extend(graph.initializer.iter().map(|tensor| (tensor.name(), tensor.dims.clone())));
    for node in nodes(proto).filter(|node| node.op_type() == "Constant") {
        let tensor = attribute(node, "value").and_then(|value| Some(numbers(value.t.as_ref()?)));
        let list = || attribute(node, "value_ints").map(|value| value.ints.clone());
        let one = || attribute(node, "value_int").and_then(|value| Some(vec![value.i?]));
        let shape = attribute(node, "value").and_then(|value| Some(value.t.as_ref()?.dims.clone()));
        shapes.extend(node.output.first().map(String::as_str).zip(shape));
        constants.extend(node.output.first().map(String::as_str).zip(tensor.or_else(list).or_else(one)));
    }
    for node in nodes(proto) {
        let lengths = match node.op_type() {
            "ConstantOfShape" => node.input.first(),
            "Expand" | "Tile" | "OneHot" => node.input.get(1),
            "Resize" => node.input.get(3),
            _ => None,
        };
        let larger = || {
            // Of a constant, which is made larger while the graph is loaded.
            let shape = shapes.get(node.input.first()?.as_str())?;
            let by = constants.get(node.input.get(1)?.as_str())?;
            match node.op_type() {
                "Tile" => Some(shape.iter().zip(by).map(|(n, by)| n.saturating_mul(*by)).collect()),
                "Pad" => {
                    let ends = by.get(shape.len()..)?;
                    let sum = |((n, before), after): ((&i64, &i64), &i64)| {
                        n.saturating_add(*before).saturating_add(*after)
                    };
                    Some(shape.iter().zip(by).zip(ends).map(sum).collect())
                }
                _ => None,
            }
        };
        let stated = || lengths.and_then(|name| constants.get(name.as_str())).cloned();
        let Some(lengths): Option<Vec<i64>> = larger().or_else(stated) else { continue };
        let lengths: Option<Vec<usize>> =
            lengths.iter().map(|length| usize::try_from((*length).max(1)).ok()).collect();
        if lengths.and_then(|lengths| elements(&lengths)).is_none_or(|all| all > MAX_ELEMENTS) {
            let name = crate::util::shown(node.name());
            return Err(format!(
                "its node '{name}' ({}) makes a tensor of more than {MAX_ELEMENTS} elements",
                node.op_type()
            ));
        }
    }
    Ok(())
}

/// A tensor of f32 or f16, as f32; `None` for other types, and where shape and data do not agree.
pub fn floats(tensor: &TensorProto) -> Option<Floats> {
    let half = |bits: u16| half::f16::from_bits(bits).to_f32();
    let raw = tensor.raw_data();
    let data: Vec<f32> = match DataType::try_from(tensor.data_type()).ok()? {
        DataType::Float if raw.is_empty() => tensor.float_data.clone(),
        DataType::Float => raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        DataType::Float16 if raw.is_empty() => tensor.int32_data.iter().map(|i| half(*i as u16)).collect(),
        DataType::Float16 => raw.as_chunks().0.iter().map(|b| half(u16::from_le_bytes(*b))).collect(),
        _ => return None,
    };
    let dims = lengths(&tensor.dims)?;
    (elements(&dims)? == data.len()).then_some(Floats { dims, data })
}

impl Floats {
    /// As whole numbers: axes, pads.
    pub fn whole(&self) -> Vec<i64> {
        self.data.iter().map(|x| *x as i64).collect()
    }

    /// A number for each channel of a map, where it broadcasts to that.
    pub fn each_channel(&self, channels: usize, order: Layout) -> Option<Vec<f32>> {
        if let [x] = self.data[..] {
            return Some(vec![x; channels]);
        }
        let axis = if order == Layout::Nchw { 1 } else { 3 };
        // Axes that are not there are at the front, and one long.
        let mut others = self.dims.iter().rev().enumerate().filter(|(back, _)| 3 - back.min(&3) != axis);
        (self.data.len() == channels && self.dims.len() <= 4 && others.all(|(_, n)| *n == 1))
            .then(|| self.data.clone())
    }
}

/// A tensor of floats or integers, as f32: integers are axes, pads and shapes, and small.
pub fn numbers(tensor: &TensorProto) -> Option<Floats> {
    let raw = tensor.raw_data();
    let data: Vec<f32> = match DataType::try_from(tensor.data_type()).ok()? {
        DataType::Int64 if raw.is_empty() => tensor.int64_data.iter().map(|i| *i as f32).collect(),
        DataType::Int64 => raw.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f32).collect(),
        DataType::Int32 if raw.is_empty() => tensor.int32_data.iter().map(|i| *i as f32).collect(),
        DataType::Int32 => raw.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b) as f32).collect(),
        DataType::Double if raw.is_empty() => tensor.double_data.iter().map(|x| *x as f32).collect(),
        DataType::Double => raw.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        _ => return floats(tensor),
    };
    let dims = lengths(&tensor.dims)?;
    (elements(&dims)? == data.len()).then_some(Floats { dims, data })
}

/// The first attribute of this name.
pub fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name() == name)
}

/// A float32 tensor with a name.
pub fn tensor(name: &str, dims: &[usize], data: &[f32]) -> TensorProto {
    assert_eq!(dims.iter().product::<usize>(), data.len());
    TensorProto {
        name: Some(name.into()),
        dims: dims.iter().map(|d| *d as i64).collect(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(data.iter().flat_map(|x| x.to_le_bytes()).collect()),
        ..Default::default()
    }
}

/// A list of whole numbers with a name, as shapes are.
#[cfg(test)]
pub fn whole(name: &str, numbers: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: vec![numbers.len() as i64],
        data_type: Some(DataType::Int64 as i32),
        int64_data: numbers.to_vec(),
        ..Default::default()
    }
}

/// A node with one output, named as its output.
pub fn node(op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        name: Some(output.into()),
        input: inputs.iter().map(|i| (*i).into()).collect(),
        output: vec![output.into()],
        attribute: attributes,
        ..Default::default()
    }
}

/// An attribute that is one integer.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

/// An attribute that is a list of integers.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    }
}

/// A float32 input or output; an axis is a number or, open, a name.
pub fn value(name: &str, shape: &[Result<usize, &str>]) -> ValueInfoProto {
    let dim = |d: &Result<usize, &str>| Dimension {
        value: Some(match d {
            Ok(n) => Value::DimValue(*n as i64),
            Err(name) => Value::DimParam((*name).into()),
        }),
        ..Default::default()
    };
    let tensor = Tensor {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto { dim: shape.iter().map(dim).collect() }),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_behind_what_they_need_and_others_go() {
        let ops = [("Relu", "b", "c"), ("Sigmoid", "b", "dead"), ("Sqrt", "a", "b"), ("Cast", "image", "a")];
        let graph = GraphProto {
            node: ops.map(|(op, input, output)| node(op, &[input], output, vec![])).to_vec(),
            output: vec![value("c", &[])],
            // As before IR 4, when weights were inputs too.
            input: vec![value("image", &[]), value("unused", &[])],
            initializer: vec![tensor("unused", &[1], &[0.0])],
            ..Default::default()
        };
        let mut proto = ModelProto { graph: Some(graph), ..Default::default() };
        prune(&mut proto);
        let graph = proto.graph.unwrap();
        assert_eq!(graph.node.iter().map(|n| n.op_type()).collect::<Vec<_>>(), ["Cast", "Sqrt", "Relu"]);
        assert!(graph.initializer.is_empty());
        assert_eq!(graph.input.iter().map(|input| input.name()).collect::<Vec<_>>(), ["image"]);
    }

    /// A weight that says these lengths and has one element.
    fn claims(dims: &[i64]) -> TensorProto {
        TensorProto { dims: dims.to_vec(), ..tensor("w", &[1], &[1.0]) }
    }

    #[test]
    fn lengths_that_multiply_to_anything_are_no_tensor() {
        assert!(floats(&claims(&[1, 1])).is_some());
        // A product beyond 64 bits can come out as 1.
        let half = 0x5555_5555_5555_5555; // times 3 is -1
        for dims in [&[-1][..], &[-1, -1], &[half, 3, -1], &[i64::MAX, i64::MAX, 1], &[0]] {
            assert!(floats(&claims(dims)).is_none() && numbers(&claims(dims)).is_none(), "{dims:?}");
        }
        let odd = i64::MAX; // times itself is 1, as bits
        assert!(floats(&claims(&[odd, odd])).is_none());
    }

    #[test]
    fn a_node_that_makes_a_vast_tensor_is_refused() {
        let of = |op: &str, lengths: &[i64], is_raw: bool| {
            let raw = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
            let mut sizes = whole("sizes", lengths);
            if is_raw {
                (sizes.int64_data, sizes.raw_data) = (Vec::new(), Some(raw));
            }
            let inputs: &[&str] = match op {
                "Expand" | "Tile" => &["image", "sizes"],
                "Resize" => &["image", "", "", "sizes"],
                _ => &["sizes"],
            };
            let graph = GraphProto {
                node: vec![node(op, inputs, "big", vec![])],
                initializer: vec![sizes],
                ..Default::default()
            };
            refuse_vast(&ModelProto { graph: Some(graph), ..Default::default() })
        };
        for op in ["ConstantOfShape", "Expand", "Tile", "Resize"] {
            for is_raw in [false, true] {
                assert_eq!(of(op, &[1, 3, 224, 224], is_raw), Ok(()));
                for vast in [&[1 << 20, 1 << 20][..], &[i64::MAX, i64::MAX], &[1 << 30]] {
                    assert!(of(op, vast, is_raw).unwrap_err().contains("'big'"), "{op} {vast:?}");
                }
            }
        }
        assert_eq!(of("Relu", &[1 << 40], true), Ok(()));
    }

    /// Constants are reckoned with while a graph is loaded.
    #[test]
    fn a_constant_that_is_made_vast_is_refused() {
        let of = |op: &str, by: &[i64]| {
            let by = whole("by", by);
            let graph = GraphProto {
                node: vec![node(op, &["small", "by"], "big", vec![])],
                initializer: vec![tensor("small", &[1000, 1], &[0.0; 1000]), by],
                ..Default::default()
            };
            refuse_vast(&ModelProto { graph: Some(graph), ..Default::default() })
        };
        assert_eq!(of("Tile", &[4, 4]), Ok(()));
        assert_eq!(of("Pad", &[0, 5, 0, 5]), Ok(()));
        assert!(of("Tile", &[1, 1_000_000]).unwrap_err().contains("'big' (Tile)"));
        assert!(of("Pad", &[0, 0, 0, 1_000_000]).unwrap_err().contains("'big' (Pad)"));
    }
}
