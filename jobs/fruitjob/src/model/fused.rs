//! Backbone and PCA in one ONNX graph, for whoever wants the vectors without this program: a phone, a
//! notebook, a web service.

use prost::Message;

use super::Model;
use super::graph::{int, node, property, tensor, value};
use crate::pca::Pca;

/// The model's graph with `(features - mean) · componentsᵀ` behind it: input as the model's own, output
/// `pca` f32 `[N, K]`. The metadata carry the preprocessing that the caller has to do.
pub fn fuse(model: &Model, pca: &Pca) -> Vec<u8> {
    let mut proto = model.proto().clone();
    let graph = proto.graph.as_mut().expect("a loaded model has a graph");
    let features = graph.output[0].name().to_owned();
    let (k, d) = (pca.components_len(), pca.mean.len());
    let mean: Vec<f32> = pca.mean.iter().map(|x| *x as f32).collect();
    let components: Vec<f32> =
        (0..d).flat_map(|j| (0..k).map(move |i| pca.components[i * d + j] as f32)).collect();
    graph.initializer.push(tensor("pca_mean", &[d], &mean));
    graph.initializer.push(tensor("pca_components", &[d, k], &components));
    graph.node.push(node("Flatten", &[&features], "pca_features", vec![int("axis", 1)]));
    graph.node.push(node("Sub", &["pca_features", "pca_mean"], "pca_centred", vec![]));
    graph.node.push(node("MatMul", &["pca_centred", "pca_components"], "pca", vec![]));
    graph.output = vec![value("pca", &[Err("N"), Ok(k)])];

    let p = &model.preprocessing;
    let list = |v: &[f32]| v.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    for (key, text) in [
        ("input_size", p.size[0].to_string()),
        ("resize", p.resize.to_string()),
        ("mean", list(&p.mean)),
        ("std", list(&p.std)),
        ("layout", format!("{:?}", p.layout).to_uppercase()),
        ("color", format!("{:?}", p.color).to_uppercase()),
        ("resample", format!("{:?}", p.resample).to_lowercase()),
        ("fit", format!("{:?}", p.fit).to_lowercase()),
        ("exif_orientation", format!("{:?}", p.exif_orientation).to_lowercase()),
        ("components", k.to_string()),
    ] {
        proto.metadata_props.retain(|prop| prop.key() != key);
        proto.metadata_props.push(property(key, text));
    }
    proto.encode_to_vec()
}
