//! Brings weights that lie in files beside the model's into its graph. A tensor names the file and the part of it; that the
//! file may be read is settled by [`files_beside`](fruitjob_interface::onnx::files_beside).
//!
//! Source: <https://onnx.ai/onnx/repo-docs/ExternalData.html>.

use std::collections::BTreeMap;

use fruitjob_interface::onnx::MAX_BYTES;

use super::onnx::tensor_proto::DataLocation;
use super::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// Where a tensor's data lie.
struct Place<'a> {
    location: &'a str,
    offset: u64,
    /// To the end of the file, where it is not given.
    length: Option<u64>,
}

/// Moves the data of all tensors into the graph; `files` are those beside it, by the names that the tensors have for them.
///
/// # Errors
/// A file that is shorter than the graph says, and tensors larger than [`MAX_BYTES`] together.
pub fn inline(proto: &mut ModelProto, files: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let mut total = 0;
    visit(proto, &mut |tensor| {
        let Some(Place { location, offset, length }) = place(tensor)? else { return Ok(()) };
        let file = files.get(location).ok_or_else(|| format!("its weights {location} are missing"))?;
        let all = file.len() as u64;
        let length = length.unwrap_or(all.saturating_sub(offset));
        let part =
            offset.checked_add(length).filter(|end| *end <= all).map(|end| offset as usize..end as usize);
        let part = part.ok_or_else(|| {
            format!(
                "{location} beside it has {all} bytes, and {} needs {length} from {offset} on: it is cut off, or of \
                 another model; copy it again",
                tensor.name()
            )
        })?;
        total += length;
        if total > MAX_BYTES {
            return Err(format!("its tensors take more than {MAX_BYTES} bytes"));
        }
        tensor.raw_data = Some(file[part].to_vec());
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    })
}

/// `None` where the data are in the graph.
fn place(tensor: &TensorProto) -> Result<Option<Place<'_>>, String> {
    if tensor.data_location.unwrap_or(0) != DataLocation::External as i32 {
        return Ok(None);
    }
    let wrong = |what: &str| format!("its tensor {} {what}", tensor.name());
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value());
    let number = |key: &str| {
        entry(key)
            .map(|text| text.parse::<u64>().map_err(|_| wrong(&format!("has the {key} {text:?}"))))
            .transpose()
    };
    let location = entry("location").ok_or_else(|| wrong("is in another file and does not say in which"))?;
    Ok(Some(Place { location, offset: number("offset")?.unwrap_or(0), length: number("length")? }))
}

/// Shows every tensor of the model to `see`.
pub(super) fn visit(
    proto: &mut ModelProto,
    see: &mut impl FnMut(&mut TensorProto) -> Result<(), String>,
) -> Result<(), String> {
    let mut graphs: Vec<&mut GraphProto> = proto.graph.iter_mut().collect();
    let mut nodes: Vec<&mut NodeProto> = proto.functions.iter_mut().flat_map(|f| &mut f.node).collect();
    loop {
        if let Some(graph) = graphs.pop() {
            graph.initializer.iter_mut().try_for_each(&mut *see)?;
            let sparse = graph.sparse_initializer.iter_mut();
            sparse.flat_map(|s| s.values.iter_mut().chain(&mut s.indices)).try_for_each(&mut *see)?;
            nodes.extend(&mut graph.node);
        } else if let Some(node) = nodes.pop() {
            for AttributeProto { t, tensors, g, graphs: more, .. } in &mut node.attribute {
                t.iter_mut().chain(tensors).try_for_each(&mut *see)?;
                graphs.extend(g.iter_mut().chain(more));
            }
        } else {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::graph::{property, tensor};

    /// A graph of one weight of two elements in the file and part that are named.
    fn proto(entries: &[(&str, &str)]) -> ModelProto {
        let mut weight = tensor("weight", &[2], &[0.0; 2]);
        weight.raw_data = None;
        weight.data_location = Some(DataLocation::External as i32);
        weight.external_data = entries.iter().map(|(key, text)| property(key, *text)).collect();
        let graph = GraphProto { initializer: vec![weight], ..Default::default() };
        ModelProto { graph: Some(graph), ..Default::default() }
    }

    fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([("w.data".to_owned(), bytes.to_vec())])
    }

    #[test]
    fn data_of_another_file_come_into_the_graph() {
        let mut proto = proto(&[("location", "w.data"), ("offset", "4"), ("length", "8")]);
        inline(&mut proto, &files(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])).unwrap();
        let weight = &proto.graph.as_ref().unwrap().initializer[0];
        assert_eq!(weight.raw_data(), [5, 6, 7, 8, 9, 10, 11, 12]);
        assert!(weight.data_location.is_none() && weight.external_data.is_empty());
    }

    #[test]
    fn without_a_length_it_is_the_rest() {
        let mut proto = proto(&[("location", "w.data"), ("offset", "2")]);
        inline(&mut proto, &files(&[1, 2, 3, 4])).unwrap();
        assert_eq!(proto.graph.unwrap().initializer[0].raw_data(), [3, 4]);
    }

    #[test]
    fn parts_that_are_not_there_are_refused() {
        let why = |offset: &str, length: &str| {
            let mut proto = proto(&[("location", "w.data"), ("offset", offset), ("length", length)]);
            inline(&mut proto, &files(&[0; 8])).unwrap_err()
        };
        assert!(why("4", "8").contains("cut off"));
        assert!(why("18446744073709551615", "8").contains("cut off"));
        assert!(why("-1", "8").contains("offset"));
        assert!(why("0", "many").contains("length"));
        let gone = inline(&mut proto(&[("location", "other")]), &files(&[])).unwrap_err();
        assert!(gone.contains("other are missing"), "{gone}");
    }
}
