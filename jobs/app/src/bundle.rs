//! What a page knows of a run: the network, the PCA, and the vectors of its pictures, in one file of little-endian numbers.
//!
//! ```text
//! "fruitapp" u32 version
//! preprocessing   u32 rows, columns, resize; f32 mean[3], std[3]; u8 bgr, bicubic, squash, upright
//! entry           u8 there; f32 factor[3], summand[3] if so
//! layers          u32 count; each u8 kind and what it has
//! head            u32 count; each u8 kind and what it has
//! PCA             floats mean[d]; floats components[k * d]
//! pictures        floats vectors[n * k]; u32 n, u16 label[n]; floats limit[labels]; f32 left out
//! ```
//!
//! `floats` are a u32 of how many, a u8 of how wide (2 or 4 bytes), and the numbers. Weights take two bytes where that loses
//! nothing, as in a model whose file has them so.

use mobilenet::{Clamp, Layer, Padding, Step};

use crate::half;
use crate::pixels::Preprocessing;

const MAGIC: &[u8] = b"fruitapp";
const VERSION: u32 = 1;
/// The longest side of a tensor, in pixels, and of a vector.
const MOST: usize = 1 << 12;

/// What a page knows of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// How pixels become a tensor.
    pub preprocessing: Preprocessing,
    /// What the network does to the tensor first, a factor and a summand a colour.
    pub entry: Option<[[f32; 3]; 2]>,
    /// The network.
    pub layers: Vec<Layer>,
    /// What follows its mean.
    pub head: Vec<Step>,
    /// Of the features, `d`.
    pub mean: Vec<f32>,
    /// `k x d`, row-major.
    pub components: Vec<f32>,
    /// Of the pictures, `n x k`; kept in 16 bits.
    pub vectors: Vec<f32>,
    /// The label of each picture.
    pub label_of: Vec<u16>,
    /// By label: how far from its nearest picture what is of the label may be.
    pub limits: Vec<f32>,
    /// How long what the projection leaves out may be; infinite where that tells nothing.
    pub left_out_limit: f32,
}

impl Bundle {
    /// Numbers a vector, `k`.
    pub fn components_len(&self) -> usize {
        self.components.len() / self.mean.len().max(1)
    }

    /// As a file.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer(MAGIC.to_vec());
        w.int(VERSION as usize);
        let p = &self.preprocessing;
        for side in p.size.into_iter().chain([p.resize]) {
            w.int(side as usize);
        }
        p.mean.iter().chain(&p.std).for_each(|x| w.float(*x));
        for flag in [p.bgr, p.bicubic, p.squash, p.upright, self.entry.is_some()] {
            w.byte(u8::from(flag));
        }
        self.entry.iter().flatten().flatten().for_each(|x| w.float(*x));
        w.int(self.layers.len());
        self.layers.iter().for_each(|layer| w.layer(layer));
        w.int(self.head.len());
        self.head.iter().for_each(|step| w.step(step));
        w.floats(&self.mean, false);
        w.floats(&self.components, false);
        w.floats(&self.vectors, true);
        w.int(self.label_of.len());
        self.label_of.iter().for_each(|label| w.0.extend(label.to_le_bytes()));
        w.floats(&self.limits, false);
        w.float(self.left_out_limit);
        w.0
    }

    /// From a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut r = Reader(bytes);
        if r.take(MAGIC.len())? != MAGIC {
            return Err("it is no bundle of fruitctl app".into());
        }
        match r.int()? {
            version if version == VERSION as usize => {}
            version => return Err(format!("version {version}, and not {VERSION}")),
        }
        let [rows, columns, resize] = [r.int()?, r.int()?, r.int()?];
        if [rows, columns].iter().any(|side| !(1..=MOST).contains(side)) || resize < rows.min(columns) {
            return Err(format!("an input of {rows}x{columns} out of {resize}"));
        }
        let [mean, std] = [r.three()?, r.three()?];
        if std.contains(&0.0) {
            return Err("a standard deviation of 0".into());
        }
        let [bgr, bicubic, squash, upright, entry] = [r.flag()?, r.flag()?, r.flag()?, r.flag()?, r.flag()?];
        let size = [rows as u32, columns as u32];
        let resize = resize as u32;
        let preprocessing = Preprocessing { size, resize, mean, std, bgr, bicubic, squash, upright };
        let entry = if entry { Some([r.three()?, r.three()?]) } else { None };
        let layers = r.many(Reader::layer)?;
        let head = r.many(Reader::step)?;
        let (mean, components, vectors) = (r.floats()?, r.floats()?, r.floats()?);
        let n = r.int()?;
        let labels = r.take(n.checked_mul(2).ok_or("too long")?)?;
        let label_of: Vec<u16> = labels.as_chunks().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
        let (limits, left_out_limit) = (r.floats()?, r.float()?);
        let bundle = Bundle {
            preprocessing,
            entry,
            layers,
            head,
            mean,
            components,
            vectors,
            label_of,
            limits,
            left_out_limit,
        };
        let (d, k) = (bundle.mean.len(), bundle.components_len());
        let whole = (1..=MOST).contains(&d)
            && (1..=d).contains(&k)
            && bundle.components.len() == k * d
            && Some(bundle.vectors.len()) == n.checked_mul(k)
            && bundle.label_of.iter().all(|label| usize::from(*label) < bundle.limits.len());
        match r.0 {
            [] if whole => Ok(bundle),
            _ => Err("its parts do not fit together".into()),
        }
    }
}

/// Kinds of layers and steps, as they are written.
const STEM: u8 = 0;
const DEPTHWISE: u8 = 1;
const POINTWISE: u8 = 2;
const ADD: u8 = 3;
const ROOT: u8 = 0;
const PRODUCT: u8 = 1;
const AFFINE: u8 = 2;
const CLAMP: u8 = 3;
const SOFTMAX: u8 = 4;

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, x: u8) {
        self.0.push(x);
    }

    fn int(&mut self, x: usize) {
        self.0.extend(u32::try_from(x).expect("no part has as many").to_le_bytes());
    }

    fn float(&mut self, x: f32) {
        self.0.extend(x.to_le_bytes());
    }

    /// In two bytes each, where nothing is lost, or what is lost does not matter.
    fn floats(&mut self, list: &[f32], may_round: bool) {
        self.int(list.len());
        let fits = |x: &f32| half::of_bits(half::to_bits(*x)) == *x;
        let narrow = if may_round { list.iter().all(|x| x.abs() < 65504.0) } else { list.iter().all(fits) };
        self.byte(if narrow { 2 } else { 4 });
        for x in list {
            if narrow { self.0.extend(half::to_bits(*x).to_le_bytes()) } else { self.float(*x) }
        }
    }

    fn clamp(&mut self, clamp: Clamp) {
        match clamp {
            Clamp::None => self.byte(0),
            Clamp::Within { min, max } => {
                self.byte(1);
                self.float(min);
                self.float(max);
            }
        }
    }

    fn layer(&mut self, layer: &Layer) {
        match layer {
            Layer::Stem { weight, bias, stride, padding, clamp }
            | Layer::Depthwise { weight, bias, stride, padding, clamp } => {
                self.byte(if matches!(layer, Layer::Stem { .. }) { STEM } else { DEPTHWISE });
                let Padding { top, left, bottom, right } = *padding;
                // The kernels know strides of 1 and 2, and padding of one zero.
                [*stride, top, left, bottom, right].iter().for_each(|x| self.byte(*x as u8));
                self.floats(weight, false);
                self.floats(bias, false);
                self.clamp(*clamp);
            }
            Layer::Pointwise { weight, bias, clamp } => {
                self.byte(POINTWISE);
                self.floats(weight, false);
                self.floats(bias, false);
                self.clamp(*clamp);
            }
            Layer::Add(from) => {
                self.byte(ADD);
                self.int(*from);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Root => self.byte(ROOT),
            Step::Product { weight, outputs } => {
                self.byte(PRODUCT);
                self.int(*outputs);
                self.floats(weight, false);
            }
            Step::Affine { factor, summand } => {
                self.byte(AFFINE);
                self.floats(factor, false);
                self.floats(summand, false);
            }
            Step::Clamp(bounds) => {
                self.byte(CLAMP);
                bounds.iter().for_each(|x| self.float(*x));
            }
            Step::Softmax => self.byte(SOFTMAX),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (first, rest) = self.0.split_at_checked(n).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(first)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("as many were taken"))
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn flag(&mut self) -> Result<bool, String> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("{other} is neither yes nor no")),
        }
    }

    fn int(&mut self) -> Result<usize, String> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn float(&mut self) -> Result<f32, String> {
        let x = f32::from_le_bytes(self.array()?);
        if x.is_nan() { Err("a number that is none".into()) } else { Ok(x) }
    }

    fn three(&mut self) -> Result<[f32; 3], String> {
        Ok([self.float()?, self.float()?, self.float()?])
    }

    fn floats(&mut self) -> Result<Vec<f32>, String> {
        let n = self.int()?;
        let width = usize::from(self.byte()?);
        let bytes = self.take(n.checked_mul(width).ok_or("too long")?)?;
        let floats: Vec<f32> = match width {
            2 => bytes.as_chunks().0.iter().map(|b| half::of_bits(u16::from_le_bytes(*b))).collect(),
            4 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            _ => return Err(format!("numbers of {width} bytes")),
        };
        if floats.iter().any(|x| x.is_nan()) { Err("a number that is none".into()) } else { Ok(floats) }
    }

    fn many<T>(&mut self, one: fn(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        let n = self.int()?;
        // Each takes a byte at least: what is left bounds how many there are.
        if n > self.0.len() {
            return Err("it ends too early".into());
        }
        (0..n).map(|_| one(self)).collect()
    }

    fn clamp(&mut self) -> Result<Clamp, String> {
        Ok(match self.flag()? {
            false => Clamp::None,
            true => Clamp::Within { min: self.float()?, max: self.float()? },
        })
    }

    fn layer(&mut self) -> Result<Layer, String> {
        // Of each output as many weights.
        let even = |weight: &[f32], bias: &[f32], each: Option<usize>| {
            let n = bias.len();
            let is = match each {
                Some(each) => n.checked_mul(each) == Some(weight.len()),
                None => n > 0 && !weight.is_empty() && weight.len().is_multiple_of(n),
            };
            if is && (1..=1 << 16).contains(&n) { Ok(()) } else { Err("a layer of uneven parts".to_owned()) }
        };
        match self.byte()? {
            kind @ (STEM | DEPTHWISE) => {
                let [stride, top, left, bottom, right] = self.array()?.map(usize::from);
                let padding = Padding { top, left, bottom, right };
                let (weight, bias, clamp) = (self.floats()?, self.floats()?, self.clamp()?);
                even(&weight, &bias, Some(if kind == STEM { 27 } else { 9 }))?;
                Ok(match kind {
                    STEM => Layer::Stem { weight, bias, stride, padding, clamp },
                    _ => Layer::Depthwise { weight, bias, stride, padding, clamp },
                })
            }
            POINTWISE => {
                let (weight, bias, clamp) = (self.floats()?, self.floats()?, self.clamp()?);
                even(&weight, &bias, None)?;
                Ok(Layer::Pointwise { weight, bias, clamp })
            }
            ADD => Ok(Layer::Add(self.int()?)),
            kind => Err(format!("a layer of kind {kind}")),
        }
    }

    fn step(&mut self) -> Result<Step, String> {
        Ok(match self.byte()? {
            ROOT => Step::Root,
            PRODUCT => {
                let outputs = self.int()?;
                if outputs == 0 {
                    return Err("a product without outputs".into());
                }
                Step::Product { outputs, weight: self.floats()? }
            }
            AFFINE => Step::Affine { factor: self.floats()?, summand: self.floats()? },
            CLAMP => Step::Clamp([self.float()?, self.float()?]),
            SOFTMAX => Step::Softmax,
            kind => return Err(format!("a step of kind {kind}")),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Of two blocks on pictures of 8 x 8, with every kind of layer and step; `k` is 2.
    pub(crate) fn some() -> Bundle {
        let one = Padding { top: 1, left: 1, bottom: 1, right: 1 };
        let floats = |n: usize| (0..n).map(|i| ((i * 7919 % 17) as f32 - 8.0) / 16.0).collect::<Vec<f32>>();
        let depthwise = || Layer::Depthwise {
            weight: floats(9 * 16),
            bias: floats(16),
            stride: 1,
            padding: one,
            clamp: Clamp::RELU6,
        };
        let pointwise = || Layer::Pointwise { weight: floats(16 * 16), bias: floats(16), clamp: Clamp::None };
        let stem = Layer::Stem {
            weight: floats(27 * 16),
            bias: floats(16),
            stride: 2,
            padding: one,
            clamp: Clamp::RELU6,
        };
        Bundle {
            preprocessing: Preprocessing {
                size: [8, 8],
                resize: 8,
                mean: [127.5; 3],
                std: [127.5; 3],
                bgr: false,
                bicubic: false,
                squash: false,
                upright: true,
            },
            entry: Some([[0.5, 1.0, 2.0], [0.1, 0.2, 0.3]]),
            layers: vec![stem, depthwise(), pointwise(), depthwise(), pointwise(), Layer::Add(2)],
            head: vec![
                Step::Clamp([0.0, 6.0]),
                Step::Root,
                Step::Product { weight: floats(16 * 4), outputs: 4 },
                Step::Affine { factor: vec![0.3], summand: floats(4) },
                Step::Softmax,
            ],
            mean: vec![0.1, 0.2, 0.3, 0.4],
            components: vec![1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
            vectors: vec![0.5, 0.25, -0.5, 0.125, 2.0, 2.0],
            label_of: vec![0, 0, 1],
            limits: vec![0.5, f32::INFINITY],
            left_out_limit: f32::INFINITY,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let bundle = some();
        let bytes = bundle.encode();
        assert_eq!(Bundle::decode(&bytes).unwrap(), bundle);
        // Weights of 16 bits where they are such.
        assert!(bytes.len() < 2 * (27 * 16 + 2 * (9 * 16 + 16 * 16) + 64) + 600, "{}", bytes.len());
    }

    #[test]
    fn whatever_is_cut_off_or_changed_is_refused_or_is_a_bundle() {
        let bytes = some().encode();
        for len in 0..bytes.len() {
            assert!(Bundle::decode(&bytes[..len]).is_err(), "{len}");
        }
        for at in 0..bytes.len() {
            for bit in [1, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= bit;
                // Whichever: it neither panics nor asks for memory that there is none of.
                if let Ok(bundle) = Bundle::decode(&changed) {
                    let _ = crate::Recogniser::new(bundle);
                }
            }
        }
    }
}
