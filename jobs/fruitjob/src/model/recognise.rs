//! Reads an ONNX graph as the layers of a MobileNet-like network, if it is one, in the spelling of whichever exporter: a chain
//! of convolutions, each with its batch norm and activation, additions around blocks, a global mean, and what little may
//! follow it. Whatever else a graph holds, it is for the general engine.
//!
//! Operators: <https://onnx.ai/onnx/operators/>. What exporters make of the same network:
//!
//! | | batch norm | padding | order of axes | mean over |
//! |---|---|---|---|---|
//! | torch, old | folded, or BatchNormalization | of the convolution | NCHW | GlobalAveragePool |
//! | torch, new | folded | of the convolution | NCHW | ReduceMean, axes as an input |
//! | tf2onnx, keras.export | folded, or Mul and Add | Pad, or of the convolution | NHWC with Transposes | GlobalAveragePool |

use std::collections::HashMap;

use fruitjob_interface::model::{Layout, Preprocessing};
use mobilenet::{Clamp, Layer, Padding};

use super::graph::{self, Floats};
use super::head::Head;
use super::onnx::{ModelProto, NodeProto};

/// A network as the kernels take it.
#[derive(Debug)]
pub struct Recognised {
    /// What the graph does to the image first, a factor and a summand a colour.
    pub entry: Option<[[f32; 3]; 2]>,
    /// In order.
    pub layers: Vec<Layer>,
    /// What follows the global mean.
    pub head: Head,
}

/// Layers, and what comes before and after them, for images as the preprocessing makes them.
///
/// # Errors
/// The first thing that is not in MobileNet's manner, in a few words.
pub fn recognise(proto: &ModelProto, preprocessing: &Preprocessing) -> Result<Recognised, String> {
    let input = graph::input(proto)?;
    let graph = proto.graph.as_ref().ok_or("no graph")?;
    let [output] = &graph.output[..] else { return Err("several outputs".into()) };
    let size = preprocessing.size.map(|n| n as usize);
    let image = Value { layers: 0, order: preprocessing.layout, pad: [0; 4], size };
    let mut reader = Reader {
        constants: HashMap::new(),
        values: HashMap::from([(input.name().to_owned(), image)]),
        vectors: Vec::new(),
        layers: Vec::new(),
        entry: None,
        head: Head::default(),
    };
    for tensor in &graph.initializer {
        if let Some(numbers) = graph::numbers(tensor) {
            reader.constants.insert(tensor.name().to_owned(), numbers);
        }
    }
    for node in &graph.node {
        reader.node(node).map_err(|why| format!("{} {}: {why}", node.op_type(), node.name()))?;
    }
    if !reader.vectors.iter().any(|name| name == output.name()) {
        return Err("it does not end in a global mean".into());
    }
    let mut layers = reader.layers;
    part_stem(&mut layers);
    Ok(Recognised { entry: reader.entry, layers, head: reader.head })
}

/// Where the stem's own output is added to what the first block makes of it, as in narrow networks, that block begins behind
/// the stem. The kernels know no stem by itself: it gets a depthwise and a 1x1 convolution that change nothing.
fn part_stem(layers: &mut Vec<Layer>) {
    let Some(Layer::Stem { bias, clamp, .. }) = layers.first() else { return };
    if !layers.contains(&Layer::Add(0)) {
        return;
    }
    let (channels, clamp) = (bias.len(), *clamp);
    let padding = Padding { top: 1, left: 1, bottom: 1, right: 1 };
    let bias = vec![0.0; channels];
    let weight = (0..channels * 9).map(|i| f32::from(u8::from(i % 9 == 4))).collect();
    let depthwise = Layer::Depthwise { weight, bias: bias.clone(), stride: 1, padding, clamp };
    let weight =
        (0..channels * channels).map(|i| f32::from(u8::from(i / channels == i % channels))).collect();
    let pointwise = Layer::Pointwise { weight, bias, clamp: Clamp::None };
    for layer in layers.iter_mut() {
        if let Layer::Add(from) = layer {
            *from += 2;
        }
    }
    layers.splice(1..1, [depthwise, pointwise]);
}

/// A map of features: what the layers so far make, as the graph has it.
#[derive(Debug, Clone, Copy)]
struct Value {
    /// How many layers made it; 0 is the image.
    layers: usize,
    /// Order of its axes.
    order: Layout,
    /// Zeros around it, that the next convolution adds: above, on the left, below, on the right.
    pad: [usize; 4],
    /// Rows and columns, without those.
    size: [usize; 2],
}

struct Reader {
    /// Known tensors.
    constants: HashMap<String, Floats>,
    /// Maps that can still be used: not those that an activation or batch norm was folded into.
    values: HashMap<String, Value>,
    /// Names of the last vector: the mean, and what follows it.
    vectors: Vec<String>,
    layers: Vec<Layer>,
    entry: Option<[[f32; 3]; 2]>,
    head: Head,
}

impl Reader {
    fn node(&mut self, node: &NodeProto) -> Result<(), String> {
        let [output] = &node.output[..] else { return Err("more than one output".into()) };
        if self.constant_node(node, output) {
            return Ok(());
        }
        if node.input.iter().any(|input| self.vectors.contains(input)) {
            if !self.head.push(node, &self.vectors, &self.constants)? {
                self.vectors.push(output.clone());
            } else {
                self.vectors = vec![output.clone()];
            }
            return Ok(());
        }
        let input = node.input.iter().find_map(|name| Some((name, *self.values.get(name)?)));
        let (name, value) = input.ok_or("it is not in line with the others")?;
        if let Some(same) = self.pass(node, name, value)? {
            self.values.insert(output.clone(), same);
            return Ok(());
        }
        if value.layers != self.layers.len() && node.op_type() != "Add" {
            return Err("it is not in line with the others".into());
        }
        if value.pad != [0; 4] && node.op_type() != "Conv" {
            return Err("it follows a padding".into());
        }
        let made = match node.op_type() {
            "Conv" => self.convolution(node, value)?,
            "GlobalAveragePool" | "AveragePool" | "ReduceMean" => {
                self.mean(node, value)?;
                self.vectors.push(output.clone());
                return Ok(());
            }
            "Add" if node.input.iter().all(|i| self.values.contains_key(i)) => self.residual(node)?,
            _ => {
                match node.op_type() {
                    "BatchNormalization" => self.batch_norm(node)?,
                    "Mul" | "Add" | "Sub" | "Div" => self.affine(node, name, value)?,
                    _ => {
                        let bounds = clip(node, name, &self.constants)?.ok_or("no part of such a network")?;
                        self.clamp(bounds)?;
                    }
                }
                // A value before its activation or batch norm is no more: whoever used it would get another.
                self.values.retain(|_, v| v.layers != value.layers);
                value
            }
        };
        self.values.insert(output.clone(), made);
        Ok(())
    }

    /// Whether it makes a constant, or something of shapes, which are not needed to understand a graph of this kind.
    fn constant_node(&mut self, node: &NodeProto, output: &str) -> bool {
        let input = node.input.first().map_or("", String::as_str);
        let made = match node.op_type() {
            "Constant" => constant_of(node),
            "Cast" | "Identity" if self.constants.contains_key(input) => self.constants.get(input).cloned(),
            "Shape" => None,
            _ if node.input.iter().any(|i| self.values.contains_key(i) || self.vectors.contains(i)) => {
                return false;
            }
            "Gather" | "Unsqueeze" | "Squeeze" | "Concat" | "Slice" | "Cast" => None,
            _ => return false,
        };
        if let Some(made) = made {
            self.constants.insert(output.to_owned(), made);
        }
        true
    }

    /// The value after a node that computes nothing; `None` for others.
    fn pass(&self, node: &NodeProto, name: &str, mut value: Value) -> Result<Option<Value>, String> {
        match node.op_type() {
            "Identity" | "Dropout" => {}
            "Cast" => {
                // Between floats; a value that was an integer is a pixel, and whole.
                let to = graph::attribute(node, "to").map_or(0, |a| a.i());
                if ![1, 10, 11, 16].contains(&to) {
                    return Err("to no floats".into());
                }
            }
            "Transpose" => {
                let perm = graph::attribute(node, "perm").map(|a| a.ints.clone()).unwrap_or_default();
                value.order = match (&perm[..], value.order) {
                    ([0, 1, 2, 3], order) => order,
                    ([0, 3, 1, 2], Layout::Nhwc) => Layout::Nchw,
                    ([0, 2, 3, 1], Layout::Nchw) => Layout::Nhwc,
                    _ => return Err(format!("axes in the order {perm:?}")),
                };
            }
            "Pad" if node.input.first().is_some_and(|input| input == name) => {
                let zeros = self.padding(node, value.order)?;
                (0..4).for_each(|side| value.pad[side] += zeros[side]);
            }
            _ => return Ok(None),
        }
        Ok(Some(value))
    }

    /// Zeros that a Pad adds: above, on the left, below, on the right.
    fn padding(&self, node: &NodeProto, order: Layout) -> Result<[usize; 4], String> {
        let given = |at: usize| node.input.get(at).filter(|name| !name.is_empty());
        let mode = graph::attribute(node, "mode").map_or(&b"constant"[..], |a| a.s());
        let fill = match given(2) {
            Some(_) => self.constant(node, 2)?.data.first().copied().unwrap_or(0.0),
            None => graph::attribute(node, "value").map_or(0.0, |a| a.f()),
        };
        if mode != b"constant" || fill != 0.0 || given(3).is_some() {
            return Err("not of zeros on all sides".into());
        }
        let pads = match graph::attribute(node, "pads") {
            Some(pads) => pads.ints.clone(),
            None => self.constant(node, 1)?.whole(),
        };
        let [a, b, c, d, e, f, g, h] = pads[..] else { return Err("not over four axes".into()) };
        let (others, sides) = match order {
            Layout::Nchw => ([a, b, e, f], [c, d, g, h]),
            Layout::Nhwc => ([a, d, e, h], [b, c, f, g]),
        };
        match sides.map(|n| usize::try_from(n).ok()) {
            [Some(top), Some(left), Some(bottom), Some(right)] if others == [0; 4] => {
                Ok([top, left, bottom, right])
            }
            _ => Err("other than rows and columns, or less than none".into()),
        }
    }

    fn constant(&self, node: &NodeProto, input: usize) -> Result<&Floats, String> {
        let name = node.input.get(input).ok_or("an input is missing")?;
        self.constants.get(name).ok_or(format!("{name} is not known beforehand"))
    }

    /// Adds the value of a block's input to that of its end.
    fn residual(&mut self, node: &NodeProto) -> Result<Value, String> {
        let [a, b] = &node.input[..] else { return Err("not of two values".into()) };
        let (a, b) = (self.values[a], self.values[b]);
        let (early, late) = if a.layers < b.layers { (a, b) } else { (b, a) };
        if early.layers == late.layers || late.layers != self.layers.len() {
            return Err("it is not in line with the others".into());
        }
        let from = early.layers.checked_sub(1).ok_or("it adds what is not a block's input")?;
        if (early.order, early.pad, early.size) != (late.order, [0; 4], late.size) {
            return Err("it adds a map of another shape".into());
        }
        self.layers.push(Layer::Add(from));
        Ok(Value { layers: self.layers.len(), ..late })
    }

    fn convolution(&mut self, node: &NodeProto, value: Value) -> Result<Value, String> {
        let weight = self.constant(node, 1)?.clone();
        let [outputs, inputs, h, w] = weight.dims[..] else { return Err("not over two dimensions".into()) };
        let bias = match node.input.get(2) {
            Some(name) if !name.is_empty() => self.constant(node, 2)?.data.clone(),
            _ => vec![0.0; outputs],
        };
        if outputs == 0 || inputs == 0 || bias.len() != outputs {
            return Err(format!("{} biases for {outputs} channels", bias.len()));
        }
        if value.order != Layout::Nchw {
            return Err("over other axes than rows and columns".into());
        }
        let ints = |name: &str, default: &[i64]| {
            graph::attribute(node, name).map_or(default.to_vec(), |a| a.ints.clone())
        };
        let group = graph::attribute(node, "group").map_or(1, |a| a.i() as usize);
        if ints("dilations", &[1, 1]) != [1, 1] {
            return Err("dilated".into());
        }
        let &[stride, across] = &ints("strides", &[1, 1])[..] else {
            return Err("not over two dimensions".into());
        };
        if stride != across || stride < 1 {
            return Err("other strides down than across".into());
        }
        let stride = stride as usize;
        let size = [value.size[0] + value.pad[0] + value.pad[2], value.size[1] + value.pad[1] + value.pad[3]];
        let own = own_padding(node, size, [h, w], stride)?;
        let [top, left, bottom, right] = std::array::from_fn(|side| own[side] + value.pad[side]);
        let side = |n: usize, kernel: usize| (n.checked_sub(kernel)).map(|n| n / stride + 1);
        let made = [side(size[0] + own[0] + own[2], h), side(size[1] + own[1] + own[3], w)];
        let [Some(rows), Some(columns)] = made else { return Err("larger than the map".into()) };
        let padding = Padding { top, left, bottom, right };
        let (weight, clamp) = (weight.data, Clamp::None);
        self.layers.push(match (h, w, group) {
            (1, 1, 1) if stride == 1 && [top, left, bottom, right] == [0; 4] => {
                Layer::Pointwise { weight, bias, clamp }
            }
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
        Ok(Value { layers: self.layers.len(), order: Layout::Nchw, pad: [0; 4], size: [rows, columns] })
    }

    /// The convolution before, and only it: an activation between them would come out otherwise.
    fn convolution_before(&mut self) -> Result<(&mut Vec<f32>, &mut Vec<f32>, &mut Clamp), String> {
        match self.layers.last_mut() {
            Some(
                Layer::Stem { weight, bias, clamp, .. }
                | Layer::Depthwise { weight, bias, clamp, .. }
                | Layer::Pointwise { weight, bias, clamp },
            ) => Ok((weight, bias, clamp)),
            _ => Err("it does not follow a convolution".into()),
        }
    }

    /// Folds a factor and a summand a channel into the convolution before.
    fn fold(&mut self, factor: &[f32], summand: &[f32]) -> Result<(), String> {
        let (weight, bias, clamp) = self.convolution_before()?;
        if *clamp != Clamp::None {
            return Err("it does not follow a convolution".into());
        }
        if factor.len() != bias.len() || summand.len() != bias.len() {
            return Err(format!("not over the {} channels before it", bias.len()));
        }
        let each = weight.len() / bias.len();
        for (o, bias) in bias.iter_mut().enumerate() {
            *bias = *bias * factor[o] + summand[o];
            weight[o * each..(o + 1) * each].iter_mut().for_each(|w| *w *= factor[o]);
        }
        Ok(())
    }

    fn batch_norm(&mut self, node: &NodeProto) -> Result<(), String> {
        let [scale, shift, mean, variance] =
            [1, 2, 3, 4].map(|i| self.constant(node, i).map(|c| c.data.clone()));
        let (scale, shift, mean, variance) = (scale?, shift?, mean?, variance?);
        let epsilon = graph::attribute(node, "epsilon").map_or(1e-5, |a| a.f());
        let factor: Vec<f32> = scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
        let less: Vec<f32> = mean.iter().map(|x| -x).collect();
        // The mean first, and then the factor: in this order, so that the last bits stay as they were.
        let ones = vec![1.0; mean.len()];
        self.fold(&ones, &less)?;
        self.fold(&factor, &shift)
    }

    /// A constant added or multiplied: batch norm in two nodes, or what is done to the image before all else.
    fn affine(&mut self, node: &NodeProto, name: &str, value: Value) -> Result<(), String> {
        let [a, b] = &node.input[..] else { return Err("not of two values".into()) };
        let constant = if a == name { b } else { a };
        let known = self
            .constants
            .get(constant)
            .ok_or("it adds what is not a block's input, or takes what is no constant")?;
        let channels = match self.layers.last() {
            None => 3,
            Some(
                Layer::Stem { bias, .. } | Layer::Depthwise { bias, .. } | Layer::Pointwise { bias, .. },
            ) => bias.len(),
            Some(Layer::Add(_)) => return Err("it does not follow a convolution".into()),
        };
        let numbers = known.each_channel(channels, value.order).ok_or("not of a number a channel")?;
        let (factor, summand): (Vec<f32>, Vec<f32>) = match (node.op_type(), b == name) {
            ("Mul", _) => (numbers, vec![0.0; channels]),
            ("Add", _) => (vec![1.0; channels], numbers),
            ("Sub", false) => (vec![1.0; channels], numbers.iter().map(|x| -x).collect()),
            ("Sub", true) => (vec![-1.0; channels], numbers),
            ("Div", false) => (numbers.iter().map(|x| 1.0 / x).collect(), vec![0.0; channels]),
            _ => return Err("a constant divided by a map".into()),
        };
        if !self.layers.is_empty() {
            return self.fold(&factor, &summand);
        }
        let [scale, shift] = self.entry.unwrap_or([[1.0; 3], [0.0; 3]]);
        let channel = |c: usize| (scale[c] * factor[c], shift[c] * factor[c] + summand[c]);
        self.entry = Some([[0, 1, 2].map(|c| channel(c).0), [0, 1, 2].map(|c| channel(c).1)]);
        Ok(())
    }

    /// Two activations one after the other are one.
    fn clamp(&mut self, [low, high]: [f32; 2]) -> Result<(), String> {
        let (.., clamp) = self.convolution_before()?;
        *clamp = match *clamp {
            Clamp::None => Clamp::Within { min: low, max: high },
            Clamp::Within { min, max } => {
                Clamp::Within { min: min.max(low).min(high), max: max.max(low).min(high) }
            }
        };
        Ok(())
    }

    fn mean(&self, node: &NodeProto, value: Value) -> Result<(), String> {
        let spatial = match (node.op_type(), value.order) {
            ("GlobalAveragePool", Layout::Nchw) => true,
            ("AveragePool", Layout::Nchw) => {
                let ints =
                    |name: &str| graph::attribute(node, name).map(|a| a.ints.clone()).unwrap_or_default();
                ints("kernel_shape") == value.size.map(|n| n as i64) && ints("pads").iter().all(|p| *p == 0)
            }
            ("ReduceMean", order) => {
                let mut axes = match graph::attribute(node, "axes") {
                    Some(axes) => axes.ints.clone(),
                    None => self.constant(node, 1)?.whole(),
                };
                axes.iter_mut().filter(|axis| **axis < 0).for_each(|axis| *axis += 4);
                axes.sort_unstable();
                axes == if order == Layout::Nchw { [2, 3] } else { [1, 2] }
            }
            _ => false,
        };
        if spatial && !self.layers.is_empty() { Ok(()) } else { Err("not over rows and columns".into()) }
    }
}

/// What a Constant holds, where it is numbers.
fn constant_of(node: &NodeProto) -> Option<Floats> {
    let [attribute] = &node.attribute[..] else { return None };
    let list = |data: Vec<f32>| Some(Floats { dims: vec![data.len()], data });
    match attribute.name() {
        "value" => graph::numbers(attribute.t.as_ref()?),
        "value_float" => Some(Floats { dims: Vec::new(), data: vec![attribute.f()] }),
        "value_int" => Some(Floats { dims: Vec::new(), data: vec![attribute.i() as f32] }),
        "value_floats" => list(attribute.floats.clone()),
        "value_ints" => list(attribute.ints.iter().map(|i| *i as f32).collect()),
        _ => None,
    }
}

/// Zeros that a convolution adds by itself to a map of this size.
fn own_padding(
    node: &NodeProto,
    size: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
) -> Result<[usize; 4], String> {
    let pads = graph::attribute(node, "pads").map_or(vec![0; 4], |a| a.ints.clone());
    match graph::attribute(node, "auto_pad").map_or(&b"NOTSET"[..], |a| a.s()) {
        b"NOTSET" | b"" => {
            match pads.iter().map(|n| usize::try_from(*n).ok()).collect::<Option<Vec<_>>>().as_deref() {
                Some(&[top, left, bottom, right]) => Ok([top, left, bottom, right]),
                _ => Err("not over two dimensions".into()),
            }
        }
        b"VALID" => Ok([0; 4]),
        b"SAME_UPPER" => {
            let total =
                |n: usize, kernel: usize| ((n.div_ceil(stride) - 1) * stride + kernel).saturating_sub(n);
            let [down, across] = [total(size[0], kernel[0]), total(size[1], kernel[1])];
            Ok([down / 2, across / 2, down - down / 2, across - across / 2])
        }
        _ => Err("its padding is not given in numbers".into()),
    }
}

/// Bounds that a node puts its input `name` between; `None` where it does something else.
pub(super) fn clip(
    node: &NodeProto,
    name: &str,
    constants: &HashMap<String, Floats>,
) -> Result<Option<[f32; 2]>, String> {
    let known = |name: &str| match constants.get(name).map(|c| &c.data[..]) {
        Some([x]) => Ok(*x),
        _ => Err(format!("its bound {name} is not known")),
    };
    let bound = |attribute: &str, at: usize, none: f32| match node.input.get(at).map(String::as_str) {
        None | Some("") => Ok(graph::attribute(node, attribute).map_or(none, |a| a.f())),
        Some(name) => known(name),
    };
    let other = || match &node.input[..] {
        [a, b] => known(if a == name { b } else { a }),
        _ => Err("not of two values".into()),
    };
    Ok(Some(match node.op_type() {
        "Relu" => [0.0, f32::INFINITY],
        "Clip" => [bound("min", 1, f32::NEG_INFINITY)?, bound("max", 2, f32::INFINITY)?],
        "Max" => [other()?, f32::INFINITY],
        "Min" => [f32::NEG_INFINITY, other()?],
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::graph::{int, ints, node, tensor, value};
    use crate::model::onnx::GraphProto;
    use fruitjob_interface::model::{Color, ExifOrientation, Fit, Resample};

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
        let [mean, std] = [[0.0; 3], [1.0; 3]];
        let (color, layout) = (Color::Rgb, Layout::Nchw);
        let preprocessing = Preprocessing {
            size: [8, 8],
            resize: 8,
            mean,
            std,
            color,
            layout,
            exif_orientation: ExifOrientation::Ignore,
            fit: Fit::Crop,
            resample: Resample::Bilinear,
        };
        recognise(&ModelProto { graph: Some(graph), ..Default::default() }, &preprocessing).map(|r| r.layers)
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
        let twice = why(|g| g.node.insert(3, node("Mul", &["c", "six"], "c", vec![])));
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
