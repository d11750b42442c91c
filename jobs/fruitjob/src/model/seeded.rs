//! A small backbone with random weights, made on the spot: everything can be tried, tested and timed without
//! a download. Random convolutions tell colours and textures apart, and nothing more: it is no model.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tract_onnx::pb::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};

use super::graph::{int, ints, node, tensor, value};

const SIZE: usize = 96;
const SEED: u64 = 131;

/// A network in MobileNet's manner: a strided 3x3 stem, four pairs of strided depthwise 3x3 and 1x1
/// convolutions, a 1x1 head to 256 features, ReLU6 throughout, global average pool.
/// `image` f32 `[N, 3, 96, 96]` -> `features` f32 `[N, 256]`.
pub fn backbone() -> ModelProto {
    let mut net = Net { graph: GraphProto::default(), rng: Pcg64::seed_from_u64(SEED), last: "image".into() };
    net.graph.name = "seeded".into();
    net.graph.input.push(value("image", &[Err("N"), Ok(3), Ok(SIZE), Ok(SIZE)]));
    net.graph.initializer.push(tensor("zero", &[], &[0.0]));
    net.graph.initializer.push(tensor("six", &[], &[6.0]));
    net.conv("stem", 3, 16, 3, 2, 1);
    for (i, (from, to)) in [(16, 32), (32, 64), (64, 96), (96, 128)].into_iter().enumerate() {
        net.conv(&format!("depthwise{i}"), from, from, 3, if i < 3 { 2 } else { 1 }, from);
        net.conv(&format!("pointwise{i}"), from, to, 1, 1, 1);
    }
    net.conv("head", 128, 256, 1, 1, 1);
    net.graph.node.push(node("GlobalAveragePool", &[&net.last], "pool", vec![]));
    net.graph.node.push(node("Flatten", &["pool"], "features", vec![int("axis", 1)]));
    net.graph.output.push(value("features", &[Err("N"), Ok(256)]));

    let metadata = [
        ("input_size", SIZE.to_string()),
        ("mean", "127.5".into()),
        ("std", "127.5".into()),
        ("layout", "NCHW".into()),
        ("color", "RGB".into()),
        ("source", format!("random weights, seed {SEED}; not trained")),
    ];
    ModelProto {
        ir_version: 8,
        producer_name: "fruitjob".into(),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        metadata_props: metadata
            .into_iter()
            .map(|(key, value)| StringStringEntryProto { key: key.into(), value })
            .collect(),
        graph: Some(net.graph),
        ..Default::default()
    }
}

struct Net {
    graph: GraphProto,
    rng: Pcg64,
    last: String,
}

impl Net {
    /// Convolution with bias, then ReLU6. Weights are uniform with He's variance 2 / fan-in
    /// (He et al., ICCV 2015), so that activations neither vanish nor saturate with depth.
    fn conv(&mut self, name: &str, from: usize, to: usize, kernel: usize, stride: i64, group: usize) {
        let fan_in = from / group * kernel * kernel;
        let bound = (6.0 / fan_in as f32).sqrt();
        let mut uniform = |n: usize, bound: f32| -> Vec<f32> {
            (0..n).map(|_| self.rng.random_range(-bound..bound)).collect()
        };
        let weights = uniform(to * fan_in, bound);
        let bias = uniform(to, 0.1);
        let (w, b, out) = (format!("{name}.weight"), format!("{name}.bias"), format!("{name}.conv"));
        self.graph.initializer.push(tensor(&w, &[to, from / group, kernel, kernel], &weights));
        self.graph.initializer.push(tensor(&b, &[to], &bias));
        let (k, pad) = (kernel as i64, kernel as i64 / 2);
        let attributes = vec![
            ints("kernel_shape", &[k, k]),
            ints("strides", &[stride, stride]),
            ints("pads", &[pad; 4]),
            int("group", group as i64),
        ];
        self.graph.node.push(node("Conv", &[&self.last, &w, &b], &out, attributes));
        self.graph.node.push(node("Clip", &[&out, "zero", "six"], name, vec![]));
        self.last = name.into();
    }
}
