//! Inputs that are no 32-bit floats: made such ones, so that all engines take the same.

use super::external::visit;
use super::graph::{self, floats, property};
use super::onnx::tensor_proto::DataType;
use super::onnx::{ModelProto, NodeProto, type_proto};

/// Makes the input one of 32-bit floats; whether it takes the bytes of the picture as they are, and normalises itself.
/// A graph in 16-bit floats becomes one of 32 bits, which is as exact and faster here.
///
/// # Errors
/// It is of a type that cannot be had so, and how to export it instead.
pub fn as_floats(proto: &mut ModelProto) -> Result<bool, String> {
    let name = graph::input(proto)?.name().to_owned();
    let Some(kind) = element_type(proto, &name).copied() else { return Ok(false) };
    match DataType::try_from(kind) {
        Ok(DataType::Float16) => widen(proto)?,
        Ok(DataType::Uint8) => {
            let graph = proto.graph.as_ref().ok_or("it has no graph")?;
            if !is_cast_first(&graph.node, &name) {
                return Err("its input is of bytes (uint8), and it reckons with them as such; export it with a float32 \
                            input: torch.onnx.export(model, torch.rand(1, 3, H, W), ...)"
                    .into());
            }
            for (key, text) in [("mean", "0"), ("std", "1")] {
                proto.metadata_props.retain(|p| p.key() != key);
                proto.metadata_props.push(property(key, text));
            }
        }
        // Of others, whoever reads the shape says it.
        _ => return Ok(false),
    }
    if let Some(kind) = element_type(proto, &name) {
        *kind = DataType::Float as i32;
    }
    Ok(kind == DataType::Uint8 as i32)
}

fn element_type<'a>(proto: &'a mut ModelProto, name: &str) -> Option<&'a mut i32> {
    let input = proto.graph.as_mut()?.input.iter_mut().find(|i| i.name() == name)?;
    match input.r#type.as_mut()?.value.as_mut()? {
        type_proto::Value::TensorType(tensor) => tensor.elem_type.as_mut(),
        _ => None,
    }
}

/// Whether whoever takes the value makes floats of it before anything else.
fn is_cast_first(nodes: &[NodeProto], value: &str) -> bool {
    // Nodes stand behind those that they take values of (`graph::prune`), so that each look is at fewer.
    let mut users =
        nodes.iter().enumerate().filter(|(_, node)| node.input.iter().any(|input| input == value)).peekable();
    let is_used = users.peek().is_some();
    is_used
        && users.all(|(at, node)| match node.op_type() {
            "Cast" => {
                graph::attribute(node, "to").is_some_and(|a| a.i() == i64::from(DataType::Float as i32))
            }
            "Transpose" | "Identity" => {
                node.output.first().is_some_and(|output| is_cast_first(&nodes[at + 1..], output))
            }
            _ => false,
        })
}

/// Makes all 16-bit floats of a graph 32-bit ones.
fn widen(proto: &mut ModelProto) -> Result<(), String> {
    let half = DataType::Float16 as i32;
    visit(proto, &mut |tensor| {
        if tensor.data_type() == half {
            let wide = floats(tensor).ok_or_else(|| format!("its tensor {} is damaged", tensor.name()))?;
            let name = tensor.name().to_owned();
            *tensor = graph::tensor(&name, &wide.dims, &wide.data);
        }
        Ok(())
    })?;
    // What exporters note about inner values is of other types now, and follows from the rest.
    proto.graph.iter_mut().for_each(|graph| graph.value_info.clear());
    for node in proto.graph.iter_mut().flat_map(|graph| &mut graph.node).filter(|n| n.op_type() == "Cast") {
        let to = node.attribute.iter_mut().filter(|a| a.name() == "to" && a.i() == i64::from(half));
        to.for_each(|a| a.i = Some(i64::from(DataType::Float as i32)));
    }
    Ok(())
}
