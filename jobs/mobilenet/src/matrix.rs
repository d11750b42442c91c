//! Weights of a 1x1 convolution, packed, and what they are multiplied by.

use crate::Precision;
use crate::aligned::Aligned;
use crate::kernels::{
    BytePanel, ByteProduct, Clamp, Kernels, NARROW, Panel, Product, Rows, RowsMut, Segmented, WIDE,
};

/// A 1x1 convolution, or the stem: panels of outputs, one after another.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub inputs: usize,
    pub outputs: usize,
    /// Most columns of a panel.
    pub panel: usize,
    weights: Weights,
    bias: Aligned<f32>,
    clamp: Clamp,
}

/// A matrix' weights, packed.
#[derive(Debug)]
enum Weights {
    /// `[inputs][width]`
    Floats(Aligned<f32>),
    /// `[inputs / 4][width][4]`, inputs padded with zeros; what a byte is worth and the sum of the bytes, per output.
    Bytes { weight: Aligned<i8>, scale: Aligned<f32>, sums: Aligned<i32> },
}

/// How bytes of activations enter a [`BytePanel`]: per output.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    start: Aligned<i32>,
    scale: Aligned<f32>,
}

/// What a matrix is multiplied by.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a> {
    Floats(Segmented<'a>),
    Bytes(Segmented<'a, u8>, &'a Entry),
}

impl Entry {
    pub fn new(outputs: usize) -> Self {
        Entry { start: Aligned::zeros(outputs), scale: Aligned::zeros(outputs) }
    }
}

impl Matrix {
    /// `weight`: `[outputs][inputs]`; outputs are padded to a multiple of `lane`.
    pub fn new(
        weight: &[f32],
        bias: &[f32],
        clamp: Clamp,
        panel: usize,
        lane: usize,
        precision: Precision,
    ) -> Self {
        let outputs = bias.len();
        let inputs = weight.len() / outputs;
        let mut padded = bias.to_vec();
        padded.resize(outputs.next_multiple_of(lane), 0.0);
        let mut matrix = Matrix {
            inputs,
            outputs,
            panel,
            weights: Weights::Floats(Aligned::default()),
            bias: Aligned::from(&padded),
            clamp,
        };
        let at = |o: usize, i: usize| if o < outputs && i < inputs { weight[o * inputs + i] } else { 0.0 };
        matrix.weights = match precision {
            Precision::F32 => {
                let mut packed = Vec::with_capacity(inputs * padded.len());
                for (first, width) in matrix.cuts() {
                    for i in 0..inputs {
                        packed.extend((first..first + width).map(|o| at(o, i)));
                    }
                }
                Weights::Floats(Aligned::from(&packed))
            }
            Precision::Int8 => {
                // The largest weight of an output is 127: symmetric, so that no zero point of the weights is needed.
                let largest =
                    |o: usize| (0..inputs).map(|i| at(o, i).abs()).fold(f32::MIN_POSITIVE, f32::max);
                let scale: Vec<f32> = (0..padded.len()).map(|o| largest(o) / 127.0).collect();
                let byte = |o: usize, i: usize| (at(o, i) / scale[o]).round() as i8;
                let mut packed = Vec::with_capacity(inputs.next_multiple_of(4) * padded.len());
                for (first, width) in matrix.cuts() {
                    for i in (0..inputs).step_by(4) {
                        packed
                            .extend((first..first + width).flat_map(|o| (i..i + 4).map(move |i| byte(o, i))));
                    }
                }
                let sum = |o: usize| (0..inputs).map(|i| i32::from(byte(o, i))).sum();
                let sums: Vec<i32> = (0..padded.len()).map(sum).collect();
                Weights::Bytes {
                    weight: Aligned::from(&packed),
                    scale: Aligned::from(&scale),
                    sums: Aligned::from(&sums),
                }
            }
        };
        matrix
    }

    /// Elements from one row of the outputs to the next.
    pub fn pitch(&self) -> usize {
        self.bias.len()
    }

    /// First column and width of each panel: as wide as can be, then 16, then 8.
    fn cuts(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (pitch, panel) = (self.pitch(), self.panel);
        let mut first = 0;
        std::iter::from_fn(move || {
            let width = [panel, WIDE, NARROW].into_iter().find(|width| first + width <= pitch)?;
            first += width;
            Some((first - width, width))
        })
    }

    /// Says how bytes worth `scale * (byte - zero)` enter.
    pub fn enter(&self, scale: f32, zero: i32, entry: &mut Entry) {
        let Weights::Bytes { scale: own, sums, .. } = &self.weights else { return };
        for (o, (own, sum)) in own.iter().zip(&**sums).enumerate() {
            entry.start[o] = -zero * sum;
            entry.scale[o] = own * scale;
        }
    }

    /// Some outputs of `m` rows.
    pub fn cut<K: Kernels>(
        &self,
        (first, width): (usize, usize),
        m: usize,
        a: Operand,
        residual: Option<Rows>,
        out: &mut RowsMut,
    ) {
        let (clamp, bias) = (self.clamp, &self.bias[first..]);
        match (&self.weights, a) {
            (Weights::Floats(weight), Operand::Floats(a)) => {
                let panel = Panel { k: self.inputs, width, weight: &weight[first * self.inputs..], bias };
                K::product(&Product { m, a, panel, clamp, residual }, out);
            }
            (Weights::Bytes { weight, .. }, Operand::Bytes(a, entry)) => {
                let k = self.inputs.next_multiple_of(4);
                let (weight, start, scale) =
                    (&weight[first * k..], &entry.start[first..], &entry.scale[first..]);
                let panel = BytePanel { k, width, weight, start, scale, bias };
                K::byte_product(&ByteProduct { m, a, panel, clamp, residual }, out);
            }
            _ => unreachable!("weights and activations of one precision"),
        }
    }

    /// All outputs of `m` rows.
    pub fn run<K: Kernels>(&self, m: usize, a: Operand, residual: Option<Rows>, out: &mut [f32]) {
        for (first, width) in self.cuts() {
            let residual = residual.map(|r| Rows { data: &r.data[first..], ..r });
            let mut out = RowsMut { data: &mut out[first..], pitch: self.pitch() };
            self.cut::<K>((first, width), m, a, residual, &mut out);
        }
    }

    pub fn is_bytes(&self) -> bool {
        matches!(self.weights, Weights::Bytes { .. })
    }
}

/// Numbers to bytes, between the least and the largest of them; says how they enter `matrix`.
pub(crate) fn bytes_of<K: Kernels>(from: &[f32], matrix: &Matrix, to: &mut [u8], entry: &mut Entry) {
    let (least, most) = K::range(from);
    let scale = ((most - least) / 255.0).max(f32::MIN_POSITIVE);
    let zero = (-least / scale).round();
    K::quantise(from, 1.0 / scale, zero, to);
    matrix.enter(scale, zero as i32, entry);
}
