//! Reads an ONNX graph as the layers of a MobileNet-like network, if it is one: a chain of convolutions, each with
//! its batch norm and activation, additions around blocks, and a global mean. Whatever else a graph holds, it is
//! for the general engine.
//!
//! Operators: <https://onnx.ai/onnx/operators/>.

use std::collections::HashMap;

use mobilenet::{Clamp, Layer, Padding};

use super::graph::{self, Floats};
use super::onnx::{GraphProto, ModelProto, NodeProto};

/// A network as the kernels take it.
#[derive(Debug)]
pub struct Recognised {
    /// In order.
    pub layers: Vec<Layer>,
    /// Whether the features are the square roots of the means.
    pub root: bool,
}

/// Layers and what follows them.
///
/// # Errors
/// The first thing that is not in MobileNet's manner, in a few words.
pub fn recognise(proto: &ModelProto) -> Result<Recognised, String> {
    let input = graph::input(proto)?;
    let graph = proto.graph.as_ref().ok_or("no graph")?;
    let mut reader = Reader {
        constants: HashMap::new(),
        made: HashMap::new(),
        layers: Vec::new(),
        last: input.name().to_owned(),
        pooled: false,
        root: false,
    };
    for tensor in &graph.initializer {
        if let Some(floats) = graph::floats(tensor) {
            reader.constants.insert(tensor.name().to_owned(), floats);
        }
    }
    for node in &graph.node {
        reader.node(node).map_err(|why| format!("{} {}: {why}", node.op_type(), node.name()))?;
    }
    reader.finish(graph)
}

struct Reader {
    /// Known tensors.
    constants: HashMap<String, Floats>,
    /// The layer that made a value, all of it: a value before its activation is not listed.
    made: HashMap<String, usize>,
    layers: Vec<Layer>,
    /// The value at the end of the chain.
    last: String,
    pooled: bool,
    root: bool,
}

impl Reader {
    fn node(&mut self, node: &NodeProto) -> Result<(), String> {
        let [output] = &node.output[..] else { return Err("more than one output".into()) };
        let input = node.input.first().map_or("", String::as_str);
        match node.op_type() {
            "Constant" => {
                let tensor =
                    graph::attribute(node, "value").and_then(|a| a.t.as_ref()).and_then(graph::floats);
                // Integers, such as the shape of a Reshape, are not needed to understand a graph of this kind.
                if let Some(floats) = tensor {
                    self.constants.insert(output.clone(), floats);
                }
                return Ok(());
            }
            "Cast" | "Identity" if self.constants.contains_key(input) => {
                self.constants.insert(output.clone(), self.constants[input].clone());
                return Ok(());
            }
            _ => {}
        }
        if !node.input.contains(&self.last) {
            return Err("it is not in line with the others".into());
        }
        match node.op_type() {
            _ if self.pooled => match node.op_type() {
                "Flatten" | "Reshape" | "Squeeze" | "Identity" => {}
                "Sqrt" if !self.root => self.root = true,
                _ => return Err("it follows the global mean".into()),
            },
            "Conv" => self.convolution(node)?,
            "BatchNormalization" => self.batch_norm(node)?,
            "Relu" => self.clamp(Clamp::RELU)?,
            "Clip" => {
                let bound = |name: &str, at: usize, none: f32| match node.input.get(at).map(String::as_str) {
                    None | Some("") => Ok(graph::attribute(node, name).map_or(none, |a| a.f())),
                    Some(name) => match self.constants.get(name).map(|c| &c.data[..]) {
                        Some([x]) => Ok(*x),
                        _ => Err(format!("its bound {name} is not known")),
                    },
                };
                let clamp = Clamp::Within {
                    min: bound("min", 1, f32::NEG_INFINITY)?,
                    max: bound("max", 2, f32::INFINITY)?,
                };
                self.clamp(clamp)?;
            }
            "Add" => {
                let other = node.input.iter().find(|i| **i != self.last).ok_or("a value added to itself")?;
                let from = self.made.get(other).ok_or("it adds what is not a block's input")?;
                self.layers.push(Layer::Add(*from));
            }
            "GlobalAveragePool" => self.pooled = true,
            "ReduceMean" => {
                let mut axes = graph::attribute(node, "axes").map(|a| a.ints.clone()).unwrap_or_default();
                axes.sort_unstable();
                if axes != [2, 3] && axes != [-2, -1] {
                    return Err("not over rows and columns".into());
                }
                self.pooled = true;
            }
            _ => return Err("no part of such a network".into()),
        }
        self.made.insert(output.clone(), self.layers.len().wrapping_sub(1));
        self.last = output.clone();
        Ok(())
    }

    fn constant(&self, node: &NodeProto, input: usize) -> Result<&Floats, String> {
        let name = node.input.get(input).ok_or("an input is missing")?;
        self.constants.get(name).ok_or(format!("{name} is not known beforehand"))
    }

    fn convolution(&mut self, node: &NodeProto) -> Result<(), String> {
        let weight = self.constant(node, 1)?.clone();
        let [outputs, inputs, h, w] = weight.dims[..] else { return Err("not over two dimensions".into()) };
        let bias = match node.input.len() {
            3 => self.constant(node, 2)?.data.clone(),
            _ => vec![0.0; outputs],
        };
        if outputs == 0 || inputs == 0 || bias.len() != outputs {
            return Err(format!("{} biases for {outputs} channels", bias.len()));
        }
        let ints = |name: &str, default: &[i64]| {
            graph::attribute(node, name).map_or(default.to_vec(), |a| a.ints.clone())
        };
        let group = graph::attribute(node, "group").map_or(1, |a| a.i() as usize);
        if graph::attribute(node, "auto_pad").is_some_and(|a| a.s() != b"NOTSET") {
            return Err("its padding is not given in numbers".into());
        }
        if ints("dilations", &[1, 1]) != [1, 1] {
            return Err("dilated".into());
        }
        let strides = ints("strides", &[1, 1]);
        let pads = ints("pads", &[0; 4]);
        let (&[stride, across], &[top, left, bottom, right]) = (&strides[..], &pads[..]) else {
            return Err("not over two dimensions".into());
        };
        let [top, left, bottom, right] = [top, left, bottom, right].map(|p| p as usize);
        let padding = Padding { top, left, bottom, right };
        if stride != across {
            return Err("other strides down than across".into());
        }
        let stride = stride as usize;
        let (weight, clamp) = (weight.data, Clamp::None);
        self.layers.push(match (h, w, group) {
            (1, 1, 1) if stride == 1 && pads == [0; 4] => Layer::Pointwise { weight, bias, clamp },
            (3, 3, _) if group == outputs && inputs == 1 => {
                Layer::Depthwise { weight, bias, stride, padding, clamp }
            }
            (3, 3, 1) if inputs == 3 && self.layers.is_empty() => {
                Layer::Stem { weight, bias, stride, padding, clamp }
            }
            _ => {
                return Err(format!(
                    "{h}x{w}, {inputs} to {outputs} channels in {group} groups, stride {stride}"
                ));
            }
        });
        Ok(())
    }

    /// The convolution before, and only it: an activation between them would come out otherwise.
    fn convolution_before(&mut self) -> Result<(&mut Vec<f32>, &mut Vec<f32>, &mut Clamp), String> {
        self.made.remove(&self.last);
        match self.layers.last_mut() {
            Some(
                Layer::Stem { weight, bias, clamp, .. }
                | Layer::Depthwise { weight, bias, clamp, .. }
                | Layer::Pointwise { weight, bias, clamp },
            ) if *clamp == Clamp::None => Ok((weight, bias, clamp)),
            _ => Err("it does not follow a convolution".into()),
        }
    }

    fn batch_norm(&mut self, node: &NodeProto) -> Result<(), String> {
        let [scale, shift, mean, variance] =
            [1, 2, 3, 4].map(|i| self.constant(node, i).map(|c| c.data.clone()));
        let (scale, shift, mean, variance) = (scale?, shift?, mean?, variance?);
        let epsilon = graph::attribute(node, "epsilon").map_or(1e-5, |a| a.f());
        let (weight, bias, _) = self.convolution_before()?;
        let each = weight.len() / bias.len();
        if [&scale, &shift, &mean, &variance].iter().any(|list| list.len() != bias.len()) {
            return Err(format!("not over the {} channels before it", bias.len()));
        }
        for (o, bias) in bias.iter_mut().enumerate() {
            let factor = scale[o] / (variance[o] + epsilon).sqrt();
            *bias = (*bias - mean[o]) * factor + shift[o];
            weight[o * each..(o + 1) * each].iter_mut().for_each(|w| *w *= factor);
        }
        Ok(())
    }

    fn clamp(&mut self, activation: Clamp) -> Result<(), String> {
        *self.convolution_before()?.2 = activation;
        Ok(())
    }

    fn finish(self, graph: &GraphProto) -> Result<Recognised, String> {
        match &graph.output[..] {
            [output] if self.pooled && output.name() == self.last => {
                Ok(Recognised { layers: self.layers, root: self.root })
            }
            _ => Err("it does not end in a global mean".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::graph::{int, ints, node, tensor, value};

    /// Stem with batch norm and ReLU6, depthwise with ReLU, 1x1, global mean; weights of ones, `change` applied.
    fn network(change: impl FnOnce(&mut GraphProto)) -> Result<Vec<Layer>, String> {
        let mut graph = GraphProto::default();
        graph.input.push(value("image", &[Err("N"), Ok(3), Ok(8), Ok(8)]));
        graph.output.push(value("mean", &[Err("N"), Ok(2)]));
        for (name, dims, x) in [
            ("stem", &[4, 3, 3, 3][..], 1.0),
            ("scale", &[4], 3.0),
            ("shift", &[4], 0.5),
            ("average", &[4], 2.0),
            ("variance", &[4], 4.0 - 1e-5),
            ("depthwise", &[4, 1, 3, 3], 1.0),
            ("pointwise", &[2, 4, 1, 1], 1.0),
            ("zero", &[], 0.0),
            ("six", &[], 6.0),
        ] {
            let n = dims.iter().product();
            graph.initializer.push(tensor(name, dims, &vec![x; n]));
        }
        let conv = |input, weight, output, more| {
            node("Conv", &[input, weight], output, [vec![ints("pads", &[1; 4])], more].concat())
        };
        graph.node = vec![
            conv("image", "stem", "a", vec![ints("strides", &[2, 2])]),
            node("BatchNormalization", &["a", "scale", "shift", "average", "variance"], "b", vec![]),
            node("Clip", &["b", "zero", "six"], "c", vec![]),
            conv("c", "depthwise", "d", vec![int("group", 4)]),
            node("Relu", &["d"], "e", vec![]),
            node("Conv", &["e", "pointwise"], "f", vec![]),
            node("GlobalAveragePool", &["f"], "mean", vec![]),
        ];
        change(&mut graph);
        recognise(&ModelProto { graph: Some(graph), ..Default::default() }).map(|r| r.layers)
    }

    #[test]
    fn batch_norm_and_activations_are_folded() {
        let layers = network(|_| {}).unwrap();
        let [Layer::Stem { weight, bias, clamp, stride: 2, .. }, Layer::Depthwise { clamp: relu, .. }, last] =
            &layers[..]
        else {
            panic!("{layers:?}")
        };
        assert_eq!((*clamp, *relu), (Clamp::RELU6, Clamp::RELU));
        assert!(weight.iter().all(|w| (w - 1.5).abs() < 1e-6), "{weight:?}");
        assert!(bias.iter().all(|b| (b - (0.5 - 2.0 * 1.5)).abs() < 1e-6), "{bias:?}");
        assert!(matches!(last, Layer::Pointwise { clamp: Clamp::None, .. }));
    }

    #[test]
    fn what_is_no_part_of_such_a_network_is_named() {
        let why = |change: fn(&mut GraphProto)| network(change).unwrap_err();
        let five = why(|g| g.node[3].attribute.push(ints("dilations", &[2, 2])));
        assert!(five.contains("dilated"), "{five}");
        let add = why(|g| g.node.insert(5, node("Add", &["e", "b"], "e", vec![])));
        assert!(add.contains("Add") && add.contains("block's input"), "{add}");
        let twice = why(|g| g.node.insert(3, node("Relu", &["c"], "c", vec![])));
        assert!(twice.contains("does not follow a convolution"), "{twice}");
        let short = why(|g| g.initializer[1] = tensor("scale", &[3], &[1.0; 3]));
        assert!(short.contains("4 channels"), "{short}");
        let bias = why(|g| g.node[0].input.push("zero".into()));
        assert!(bias.contains("1 biases for 4"), "{bias}");
        let behind = why(|g| g.node.push(node("Sigmoid", &["mean"], "mean", vec![])));
        assert!(behind.contains("follows the global mean"), "{behind}");
        let headless = why(|g| drop(g.node.pop()));
        assert!(headless.contains("global mean"), "{headless}");
        let aside = why(|g| g.node.insert(1, node("Relu", &["image"], "x", vec![])));
        assert!(aside.contains("in line"), "{aside}");
    }
}
