//! Layers to blocks, blocks to features.

use crate::aligned::Aligned;
use crate::kernels::{Clamp, Depthwise, Kernels, NARROW, Rows, RowsMut, Segmented, WIDE};
use crate::matrix::{Entry, Matrix, Operand, bytes_of};
#[cfg(target_arch = "aarch64")]
use crate::simd::Neon;
use crate::simd::Portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use crate::simd::Simd128;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::{Isa, Layer, Padding, Precision};

/// A strip of the hidden tensor and its depthwise output: what stays in the second-level cache beside the weights.
const STRIP: usize = 288 * 1024;

/// Taps of the stem: three rows of nine elements.
const TAPS: usize = 27;

/// A depthwise convolution: `[9][channels]`.
#[derive(Debug)]
struct Taps {
    weight: Aligned<f32>,
    bias: Aligned<f32>,
    stride: usize,
    padding: Padding,
    clamp: Clamp,
}

/// Where the hidden tensor comes from.
#[derive(Debug)]
enum Hidden {
    /// 3x3 convolution of the image; elements from one row to the next, of the image with its padding.
    Stem { matrix: Matrix, stride: usize, padding: Padding, jump: usize },
    /// 1x1 convolution of the block's input.
    Expansion(Matrix),
    /// It is the block's input.
    Input,
}

#[derive(Debug)]
struct Middle {
    hidden: Hidden,
    taps: Taps,
    /// Rows and columns of the hidden tensor.
    from: [usize; 2],
    channels: usize,
    /// Output rows that are computed at once.
    strip: usize,
}

/// Depthwise separable convolution, or a plain 1x1 convolution.
#[derive(Debug)]
struct Block {
    middle: Option<Middle>,
    projection: Matrix,
    /// How a strip's bytes enter the projection.
    entry: Entry,
    residual: bool,
    /// Rows and columns of the output.
    to: [usize; 2],
}

/// A network, its weights packed for one kind of processor.
#[derive(Debug)]
pub struct Network {
    isa: Isa,
    /// Rows and columns of the image.
    size: [usize; 2],
    blocks: Vec<Block>,
    features: usize,
    multiply_adds: u64,
    precision: Precision,
}

/// What one thread needs to run images through.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A block's input, and its output.
    input: Aligned<f32>,
    output: Aligned<f32>,
    /// A ring of rows of the hidden tensor, panel after panel.
    hidden: Aligned<f32>,
    /// A strip of the depthwise convolution's output, panel after panel.
    strip: Aligned<f32>,
    /// The image and its padding.
    image: Aligned<f32>,
    /// A row of padding.
    zeros: Aligned<f32>,
    features: Aligned<f32>,
    /// Of a network of bytes: a block's input, how it enters the first matrix, and a strip.
    bytes: Aligned<u8>,
    entry: Entry,
    strip_bytes: Aligned<u8>,
}

/// Channels as a depthwise convolution takes them.
fn padded(channels: usize) -> usize {
    channels.next_multiple_of(WIDE)
}

/// Rows and columns that a 3x3 convolution makes of these.
fn convolved(from: [usize; 2], stride: usize, p: Padding) -> Result<[usize; 2], String> {
    let side = |n: usize, pad: usize| (n + pad).checked_sub(3).map(|n| n / stride + 1);
    let to = [side(from[0], p.top + p.bottom), side(from[1], p.left + p.right)];
    match to {
        [Some(rows), Some(columns)] => Ok([rows, columns]),
        _ => Err(format!("{}x{} is too small for a 3x3 convolution", from[0], from[1])),
    }
}

/// The kernels know padding of one zero where it matters, and strides of 1 and 2.
fn check(stride: usize, p: Padding) -> Result<(), String> {
    let one = |n: usize| n <= 1;
    match stride {
        1 if p == (Padding { top: 1, left: 1, bottom: 1, right: 1 }) => Ok(()),
        2 if one(p.top) && one(p.left) && one(p.bottom) && one(p.right) => Ok(()),
        _ => Err(format!("3x3 convolution with stride {stride} and padding {p:?}")),
    }
}

/// The kernels clamp to bounds that are not negative.
fn check_clamp(layer: &Layer) -> Result<(), String> {
    match layer {
        Layer::Stem { clamp: Clamp::Within { min, max }, .. }
        | Layer::Depthwise { clamp: Clamp::Within { min, max }, .. }
        | Layer::Pointwise { clamp: Clamp::Within { min, max }, .. }
            if !(*min >= 0.0 && min <= max) =>
        {
            Err(format!("an activation that clamps to {min}..{max}"))
        }
        _ => Ok(()),
    }
}

impl Taps {
    /// `weight`: `[channels][9]`.
    fn new(weight: &[f32], bias: &[f32], stride: usize, padding: Padding, clamp: Clamp) -> Self {
        let (channels, width) = (bias.len(), padded(bias.len()));
        let mut taps =
            Taps { weight: Aligned::zeros(9 * width), bias: Aligned::zeros(width), stride, padding, clamp };
        taps.bias[..channels].copy_from_slice(bias);
        for (i, w) in weight.iter().enumerate() {
            taps.weight[i % 9 * width + i / 9] = *w;
        }
        taps
    }

    /// What one step of an output's byte is worth: bytes span what the activation lets through.
    fn byte(&self) -> Result<f32, String> {
        match self.clamp {
            Clamp::Within { max, .. } if max.is_finite() => Ok(max / 255.0),
            _ => Err("int8 needs a bounded activation, such as ReLU6, after a depthwise convolution".into()),
        }
    }
}

impl Network {
    /// Groups layers into blocks and packs their weights. In one piece: what a layer is follows from those before it in the
    /// block, all of which each part would have to be told.
    ///
    /// # Errors
    /// What is not in MobileNet's manner, in a few words.
    pub fn new(layers: &[Layer], size: [usize; 2], isa: Isa, precision: Precision) -> Result<Self, String> {
        assert!(isa.is_here(), "{} is not here", isa.name());
        assert!(precision == Precision::F32 || isa != Isa::Avx512 || isa.has_dot(), "no VNNI here");
        layers.iter().try_for_each(check_clamp)?;
        let panel = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::PANEL,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::PANEL,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Neon::PANEL,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Isa::Simd128 => Simd128::PANEL,
            _ => Portable::PANEL,
        };
        let matrix = |layer: &Layer, lane: usize| match layer {
            Layer::Pointwise { weight, bias, clamp } => {
                // Products of bytes have no narrow kind.
                let lane = if precision == Precision::Int8 { WIDE } else { lane };
                Some(Matrix::new(weight, bias, *clamp, panel, lane, precision))
            }
            _ => None,
        };
        let mut network = Network { isa, size, blocks: Vec::new(), features: 0, multiply_adds: 0, precision };
        let (mut map, mut channels, mut at) = (size, 3, 0);
        while at < layers.len() {
            let first = at;
            let (hidden, from) = match &layers[at] {
                Layer::Stem { weight, bias, stride, padding, clamp } if at == 0 => {
                    check(*stride, *padding)?;
                    // From [output][colour][tap] to [output][tap][colour], as pixels lie.
                    let colour = |i: usize| i / TAPS * TAPS + i % 3 * 9 + i % TAPS / 3;
                    let weight: Vec<f32> = (0..weight.len()).map(|i| weight[colour(i)]).collect();
                    let matrix = Matrix::new(&weight, bias, *clamp, panel, WIDE, Precision::F32);
                    let to = convolved(map, *stride, *padding)?;
                    at += 1;
                    let jump = 3 * (size[1] + padding.left + padding.right);
                    (Hidden::Stem { matrix, stride: *stride, padding: *padding, jump }, to)
                }
                layer @ Layer::Pointwise { .. }
                    if matches!(layers.get(at + 1), Some(Layer::Depthwise { .. })) =>
                {
                    at += 1;
                    (Hidden::Expansion(matrix(layer, WIDE).expect("it is one")), map)
                }
                _ => (Hidden::Input, map),
            };
            if let Hidden::Stem { matrix, .. } | Hidden::Expansion(matrix) = &hidden {
                let inputs = if matches!(hidden, Hidden::Stem { .. }) { TAPS } else { channels };
                network.count(matrix, inputs, from)?;
                channels = matrix.outputs;
            }
            let middle = match layers.get(at) {
                Some(Layer::Depthwise { weight, bias, stride, padding, clamp }) => {
                    check(*stride, *padding)?;
                    if bias.len() != channels || weight.len() != 9 * channels {
                        return Err(format!(
                            "a depthwise convolution of {} channels on {channels}",
                            bias.len()
                        ));
                    }
                    at += 1;
                    let to = convolved(from, *stride, *padding)?;
                    network.multiply_adds += (to[0] * to[1] * channels * 9) as u64;
                    let taps = Taps::new(weight, bias, *stride, *padding, *clamp);
                    map = to;
                    let strip = strip(&hidden, from, to, padded(channels), *stride);
                    Some(Middle { hidden, taps, from, channels, strip })
                }
                _ if matches!(hidden, Hidden::Input) => None,
                _ => return Err("a stem or an expansion without a depthwise convolution behind it".into()),
            };
            // A depthwise convolution and the mean take 16 channels at a time, a product takes any number.
            let next = layers[at.min(layers.len())..].iter().skip(1).find(|l| !matches!(l, Layer::Add(_)));
            let lane = if matches!(next, Some(Layer::Pointwise { .. })) { NARROW } else { WIDE };
            let Some(mut projection) = layers.get(at).and_then(|layer| matrix(layer, lane)) else {
                return Err("a depthwise convolution without a 1x1 convolution behind it".into());
            };
            // What is added up lies alike in memory.
            if let (Some(Layer::Add(_)), Some(block)) = (layers.get(at + 1), network.blocks.last())
                && block.projection.pitch() != projection.pitch()
            {
                projection = matrix(&layers[at], WIDE).expect("it is one");
                if block.projection.pitch() != projection.pitch() {
                    return Err(format!("an addition of {} channels at the end", projection.outputs));
                }
            }
            network.count(&projection, channels, map)?;
            channels = projection.outputs;
            at += 1;
            let mut entry = Entry::default();
            if let (Precision::Int8, Some(m)) = (precision, &middle) {
                entry = Entry::new(projection.pitch());
                projection.enter(m.taps.byte()?, 0, &mut entry);
            }
            let mut residual = false;
            if let Some(Layer::Add(from)) = layers.get(at) {
                // The block's input is what the layer before its first one gave.
                let block = network.blocks.last();
                let same = block.is_some_and(|b| b.to == map && b.projection.outputs == channels);
                if first.checked_sub(1) != Some(*from) || !same || middle.is_none() {
                    return Err("an addition that is not around one block".into());
                }
                residual = true;
                at += 1;
            }
            network.blocks.push(Block { middle, projection, entry, residual, to: map });
        }
        if network.blocks.is_empty() {
            return Err("no layers".into());
        }
        if network.blocks[0].middle.as_ref().is_none_or(|m| !matches!(m.hidden, Hidden::Stem { .. })) {
            return Err("no 3x3 stem with a depthwise convolution behind it".into());
        }
        network.features = channels;
        Ok(network)
    }

    fn count(&mut self, matrix: &Matrix, inputs: usize, map: [usize; 2]) -> Result<(), String> {
        if matrix.inputs != inputs {
            return Err(format!("a convolution of {} channels on {inputs}", matrix.inputs));
        }
        self.multiply_adds += (map[0] * map[1] * inputs * matrix.outputs) as u64;
        Ok(())
    }

    /// Length of the vector.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Multiply-adds an image.
    pub fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }

    /// What activations and weights are.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The kernels in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Memory for one thread.
    pub fn scratch(&self) -> Scratch {
        let mut s = Scratch::default();
        let (mut map, mut hidden, mut strip, mut image, mut zeros) = (0, 0, 0, 0, 0);
        for block in &self.blocks {
            map = map.max(block.to[0] * block.to[1] * block.projection.pitch());
            let Some(m) = &block.middle else { continue };
            let (width, columns) = (padded(m.channels), m.from[1]);
            zeros = zeros.max(columns * width);
            strip = strip.max(m.strip * block.to[1] * width.next_multiple_of(block.projection.panel));
            if !matches!(m.hidden, Hidden::Input) {
                hidden = hidden.max(m.ring() * columns * width);
            }
            if let Hidden::Stem { padding, jump, .. } = m.hidden {
                image = (self.size[0] + padding.top + padding.bottom) * jump;
            }
        }
        s.input = Aligned::zeros(map);
        s.output = Aligned::zeros(map);
        s.hidden = Aligned::zeros(hidden);
        s.strip = Aligned::zeros(strip);
        s.image = Aligned::zeros(image);
        s.zeros = Aligned::zeros(zeros);
        s.features = Aligned::zeros(padded(self.features));
        if self.precision == Precision::Int8 {
            let widest =
                |b: &Block| b.projection.pitch().max(b.middle.as_ref().map_or(0, |m| padded(m.channels)));
            s.bytes = Aligned::zeros(map);
            s.strip_bytes = Aligned::zeros(strip);
            s.entry = Entry::new(self.blocks.iter().map(widest).max().unwrap_or_default());
        }
        s
    }

    /// Features of one image. Nothing is allocated.
    ///
    /// `image`: `[rows][columns][3]`, normalised; `features`: [`Network::features`] elements, all written.
    ///
    /// # Panics
    /// Where a slice has another length, or `scratch` is of another network.
    pub fn forward(&self, image: &[f32], scratch: &mut Scratch, features: &mut [f32]) {
        assert_eq!(image.len(), self.size[0] * self.size[1] * 3);
        assert_eq!(features.len(), self.features);
        match self.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => self.run::<Avx512>(image, scratch),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => self.run::<Avx2>(image, scratch),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => self.run::<Neon>(image, scratch),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Isa::Simd128 => self.run::<Simd128>(image, scratch),
            _ => self.run::<Portable>(image, scratch),
        }
        features.copy_from_slice(&scratch.features[..self.features]);
    }

    fn run<K: Kernels>(&self, image: &[f32], s: &mut Scratch) {
        if let Some(Middle { hidden: Hidden::Stem { padding, jump, .. }, .. }) = &self.blocks[0].middle {
            // What lies around the image stays zero from one to the next.
            let rows = s.image.chunks_exact_mut(*jump).skip(padding.top);
            for (to, from) in rows.zip(image.chunks_exact(3 * self.size[1])) {
                to[3 * padding.left..][..from.len()].copy_from_slice(from);
            }
        }
        let (mut channels, mut m) = (0, 0);
        for block in &self.blocks {
            m = block.to[0] * block.to[1];
            match &block.middle {
                Some(middle) => middle.run::<K>(block, channels, s),
                None if block.projection.is_bytes() => {
                    bytes_of::<K>(&s.input[..m * channels], &block.projection, &mut s.bytes, &mut s.entry);
                    let a = Operand::Bytes(Rows { data: &s.bytes, pitch: channels }.whole(), &s.entry);
                    block.projection.run::<K>(m, a, None, &mut s.output);
                }
                None => {
                    let a = Operand::Floats(Rows { data: &s.input, pitch: channels }.whole());
                    block.projection.run::<K>(m, a, None, &mut s.output);
                }
            }
            channels = block.projection.pitch();
            std::mem::swap(&mut s.input, &mut s.output);
        }
        K::mean(m, Rows { data: &s.input, pitch: channels }, &mut s.features);
    }
}

/// How many output rows at once: as many as fit [`STRIP`], all if they do.
fn strip(hidden: &Hidden, from: [usize; 2], to: [usize; 2], width: usize, stride: usize) -> usize {
    let row_in = if matches!(hidden, Hidden::Input) { 0 } else { from[1] * width * size_of::<f32>() };
    let row_out = to[1] * width * size_of::<f32>();
    let fits = STRIP.saturating_sub(2 * row_in) / (stride * row_in + row_out);
    // Two rows at a time share what they load.
    let fits = if fits > 2 { fits / 2 * 2 } else { fits };
    fits.clamp(1, to[0])
}

impl Middle {
    /// Rows of the hidden tensor that are kept: those under one strip.
    fn ring(&self) -> usize {
        ((self.strip - 1) * self.taps.stride + 3).min(self.from[0])
    }

    /// Hidden rows under the output rows `first .. first + n`.
    fn under(&self, first: usize, n: usize) -> std::ops::Range<usize> {
        let top = self.taps.padding.top;
        let last = (first + n - 1) * self.taps.stride + 3;
        (first * self.taps.stride).saturating_sub(top)..(last - top).min(self.from[0])
    }

    /// The block's output from its input, a strip of rows at a time. In one piece: its three products share the ring of
    /// hidden rows and the places in it, and the compiler keeps those in registers.
    fn run<K: Kernels>(&self, block: &Block, channels: usize, s: &mut Scratch) {
        let (columns, width, ring) = (self.from[1], padded(self.channels), self.ring());
        let [rows_out, columns_out] = block.to;
        if let Hidden::Expansion(matrix) = &self.hidden
            && matrix.is_bytes()
        {
            let from = &s.input[..self.from[0] * columns * channels];
            bytes_of::<K>(from, matrix, &mut s.bytes, &mut s.entry);
        }
        let (mut first, mut have) = (0, 0);
        while first < rows_out {
            let n = self.strip.min(rows_out - first);
            let need = self.under(first, n);
            have = have.max(need.start);
            for start in (0..width).step_by(K::PANEL) {
                let panel = K::PANEL.min(width - start);
                // Panels of the ring lie one after another.
                let base = start * ring * columns;
                if !matches!(self.hidden, Hidden::Input) {
                    let mut y = have;
                    while y < need.end {
                        let slot = y % ring;
                        let mut run = (need.end - y).min(ring - slot);
                        let out = &mut s.hidden[base + slot * columns * panel..];
                        let (matrix, a) = match &self.hidden {
                            Hidden::Stem { matrix, stride, jump, .. } => {
                                // A window is three runs of nine elements: three pixels in each of three rows.
                                run = 1;
                                let jump = *jump;
                                let rows = Rows { data: &s.image[y * stride * jump..], pitch: 3 * stride };
                                (matrix, Operand::Floats(Segmented { rows, segment: TAPS / 3, jump }))
                            }
                            Hidden::Expansion(matrix) if matrix.is_bytes() => {
                                let a = Rows { data: &s.bytes[y * columns * channels..], pitch: channels }
                                    .whole();
                                (matrix, Operand::Bytes(a, &s.entry))
                            }
                            Hidden::Expansion(matrix) => {
                                let a = Rows { data: &s.input[y * columns * channels..], pitch: channels }
                                    .whole();
                                (matrix, Operand::Floats(a))
                            }
                            Hidden::Input => unreachable!(),
                        };
                        let mut out = RowsMut { data: out, pitch: panel };
                        matrix.cut::<K>((start, panel), run * columns, a, None, &mut out);
                        y += run;
                    }
                }
                let pitch = if matches!(self.hidden, Hidden::Input) { channels } else { panel };
                let row = |y: usize| -> &[f32] {
                    // Rows above the first wrap around to a large number.
                    match y.wrapping_sub(self.taps.padding.top) {
                        y if y >= self.from[0] => &s.zeros,
                        y if matches!(self.hidden, Hidden::Input) => {
                            &s.input[y * columns * channels + start..]
                        }
                        y => &s.hidden[base + y % ring * columns * panel..],
                    }
                };
                let mut y = 0;
                while y < n {
                    let pair = self.taps.stride == 1 && y + 2 <= n;
                    let rows_out = if pair { 2 } else { 1 };
                    let top = (first + y) * self.taps.stride;
                    let rows = [row(top), row(top + 1), row(top + 2), if pair { row(top + 3) } else { &[] }];
                    let depthwise = Depthwise {
                        rows,
                        pitch,
                        columns,
                        columns_out,
                        width: panel,
                        weight: &self.taps.weight[start..],
                        weight_pitch: width,
                        bias: &self.taps.bias[start..],
                        stride: self.taps.stride,
                        left: self.taps.padding.left,
                        clamp: self.taps.clamp,
                        rows_out,
                        row_pitch: columns_out * K::PANEL,
                    };
                    let out = &mut s.strip[(start * n + y * K::PANEL) * columns_out..];
                    K::depthwise(&depthwise, &mut RowsMut { data: out, pitch: K::PANEL });
                    y += rows_out;
                }
            }
            have = need.end;
            let pitch = block.projection.pitch();
            let offset = first * columns_out * pitch;
            let residual = block.residual.then(|| Rows { data: &s.input[offset..], pitch });
            let (segment, jump) = (K::PANEL, n * columns_out * K::PANEL);
            let a = if block.projection.is_bytes() {
                let used = jump * width.div_ceil(segment);
                let byte = self.taps.byte().expect("it was asked when the network was made");
                K::quantise(&s.strip[..used], 1.0 / byte, 0.0, &mut s.strip_bytes);
                let rows = Rows { data: &s.strip_bytes, pitch: segment };
                Operand::Bytes(Segmented { rows, segment, jump }, &block.entry)
            } else {
                Operand::Floats(Segmented { rows: Rows { data: &s.strip, pitch: segment }, segment, jump })
            };
            block.projection.run::<K>(n * columns_out, a, residual, &mut s.output[offset..]);
            first += n;
        }
    }
}
