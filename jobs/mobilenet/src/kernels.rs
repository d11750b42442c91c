//! The inner loops: matrix product of a panel of weights, in f32 or of bytes, depthwise 3x3, mean. Generic over
//! [`Simd`]; compiled once a kind of processor by [`Kernels`].
//!
//! Activations are `[row][column][channel]` f32, channels padded to a multiple of 16 or 8 (the padding is zero in weights
//! and biases, so it stays out of all sums).

// Indices, not iterators: closures would be functions of their own, compiled without the instructions.
#![allow(clippy::needless_range_loop)]

use crate::simd::{Dot, Portable, Simd, at};

/// Least number of channels that go through a depthwise convolution together: the widest register.
pub(crate) const WIDE: usize = 16;

/// Least number of channels that a product gives: half of it.
pub(crate) const NARROW: usize = 8;

/// What follows a convolution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clamp {
    /// Nothing.
    None,
    /// `x.clamp(min, max)`, with `0 <= min <= max`; ReLU has an infinite `max`.
    Within {
        /// 0, most often.
        min: f32,
        /// 6, most often.
        max: f32,
    },
}

impl Clamp {
    /// `max(x, 0)`
    pub const RELU: Clamp = Clamp::Within { min: 0.0, max: f32::INFINITY };
    /// `min(max(x, 0), 6)`
    pub const RELU6: Clamp = Clamp::Within { min: 0.0, max: 6.0 };

    fn bounds(self) -> Option<(f32, f32)> {
        match self {
            Clamp::None => None,
            Clamp::Within { min, max } => Some((min, max)),
        }
    }
}

/// Rows of a matrix in memory, `pitch` elements from one to the next.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a, T = f32> {
    pub data: &'a [T],
    pub pitch: usize,
}

/// The same, a row lying in segments of so many columns (the last may have fewer), `jump` elements from one to the next.
#[derive(Clone, Copy)]
pub(crate) struct Segmented<'a, T = f32> {
    pub rows: Rows<'a, T>,
    pub segment: usize,
    pub jump: usize,
}

impl<'a, T: Copy> Rows<'a, T> {
    /// Rows in one piece.
    pub fn whole(self) -> Segmented<'a, T> {
        Segmented { rows: self, segment: self.pitch, jump: 0 }
    }

    /// Panics unless `m` rows of `width` elements are there.
    fn check(&self, m: usize, width: usize) {
        assert!((m - 1) * self.pitch + width <= self.data.len());
    }
}

impl<T: Copy> Segmented<'_, T> {
    /// Panics unless `m` rows of `k` elements are there.
    fn check(&self, m: usize, k: usize) {
        let Segmented { rows, segment, jump } = *self;
        let (whole, rest) = (k / segment, k % segment);
        if whole > 0 {
            rows.check(m, (whole - 1) * jump + segment);
        }
        if rest > 0 {
            rows.check(m, whole * jump + rest);
        }
    }
}

/// The same, to be written.
pub(crate) struct RowsMut<'a> {
    pub data: &'a mut [f32],
    pub pitch: usize,
}

impl RowsMut<'_> {
    /// Panics unless `m` rows of `width` elements are there, and in a residual too.
    fn check(&self, m: usize, width: usize, residual: Option<Rows>) {
        Rows { data: &*self.data, pitch: self.pitch }.check(m, width);
        if let Some(residual) = residual {
            residual.check(m, width);
        }
    }
}

/// Some columns of a matrix of weights, `[k][width]`, and their biases.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub k: usize,
    pub width: usize,
    pub weight: &'a [f32],
    pub bias: &'a [f32],
}

/// `out[m x width] = clamp(a[m x k] * weight + bias) + residual`
pub(crate) struct Product<'a> {
    pub m: usize,
    pub a: Segmented<'a>,
    pub panel: Panel<'a>,
    pub clamp: Clamp,
    pub residual: Option<Rows<'a>>,
}

impl Product<'_> {
    /// Panics unless all that the kernel touches is there.
    fn check(&self, out: &RowsMut, panel: usize) {
        let Panel { k, width, weight, bias } = self.panel;
        assert!(width == panel || width == WIDE || width == NARROW);
        assert!(k * width <= weight.len() && width <= bias.len());
        self.a.check(self.m, k);
        out.check(self.m, width, self.residual);
    }
}

/// Some columns of a matrix of weights as bytes, `[k / 4][width][4]`. A product is `scale * (start + sum of bytes' products)
/// + bias`, column by column.
#[derive(Clone, Copy)]
pub(crate) struct BytePanel<'a> {
    pub k: usize,
    pub width: usize,
    pub weight: &'a [i8],
    pub start: &'a [i32],
    pub scale: &'a [f32],
    pub bias: &'a [f32],
}

/// As [`Product`], of bytes, into floats: sums are exact.
pub(crate) struct ByteProduct<'a> {
    pub m: usize,
    pub a: Segmented<'a, u8>,
    pub panel: BytePanel<'a>,
    pub clamp: Clamp,
    pub residual: Option<Rows<'a>>,
}

impl ByteProduct<'_> {
    /// Panics unless all that the kernel touches is there.
    fn check(&self, out: &RowsMut, panel: usize) {
        let BytePanel { k, width, weight, start, scale, bias } = self.panel;
        assert!(k.is_multiple_of(4) && self.a.segment.is_multiple_of(4));
        assert!(width == panel || width == WIDE);
        assert!(k * width <= weight.len() && width <= bias.len());
        assert!(width <= scale.len() && width <= start.len());
        self.a.check(self.m, k);
        out.check(self.m, width, self.residual);
    }
}

/// A depthwise 3x3 convolution of one or two neighbouring output rows.
pub(crate) struct Depthwise<'a> {
    /// Input rows from the topmost that is needed; the fourth is used with stride 1 and two output rows only.
    pub rows: [&'a [f32]; 4],
    /// Elements from one column to the next, in the input.
    pub pitch: usize,
    /// Columns, in the input.
    pub columns: usize,
    /// Columns, in the output.
    pub columns_out: usize,
    /// Channels that are computed: a multiple of 16.
    pub width: usize,
    /// `[9][weight_pitch]`, from the first of these channels.
    pub weight: &'a [f32],
    pub weight_pitch: usize,
    pub bias: &'a [f32],
    pub stride: usize,
    /// Columns of padding on the left: 0 or 1; 1 with stride 1.
    pub left: usize,
    pub clamp: Clamp,
    /// Output rows: 1, or 2 with stride 1.
    pub rows_out: usize,
    /// Elements from one output row to the next.
    pub row_pitch: usize,
}

impl Depthwise<'_> {
    /// Panics unless all that the kernel touches is there.
    fn check(&self, out: &RowsMut) {
        let width = self.width;
        assert!(width.is_multiple_of(WIDE) && self.columns > 0 && self.columns_out > 0);
        assert!(self.rows_out == 1 || (self.rows_out == 2 && self.stride == 1));
        for row in &self.rows[..self.rows_out + 2] {
            assert!((self.columns - 1) * self.pitch + width <= row.len());
        }
        assert!(8 * self.weight_pitch + width <= self.weight.len() && width <= self.bias.len());
        let last = (self.rows_out - 1) * self.row_pitch + (self.columns_out - 1) * out.pitch;
        assert!(last + width <= out.data.len());
        if self.stride == 1 {
            assert!(self.left == 1 && self.columns_out == self.columns);
        } else {
            // The middle column of the last output, at least, is in the picture.
            assert!((self.columns_out - 1) * self.stride + 1 - self.left < self.columns && self.left <= 1);
        }
    }
}

/// The kernels, compiled for one kind of processor.
pub(crate) trait Kernels {
    /// Width of a panel of weights.
    const PANEL: usize;
    fn product(product: &Product, out: &mut RowsMut);
    fn byte_product(product: &ByteProduct, out: &mut RowsMut);
    /// Least and largest of some numbers and 0.
    fn range(from: &[f32]) -> (f32, f32);
    /// `x * factor + zero`, rounded, within 0..=255.
    fn quantise(from: &[f32], factor: f32, zero: f32, to: &mut [u8]);
    fn depthwise(depthwise: &Depthwise, out: &mut RowsMut);
    /// Mean of `m` rows of `out.len()` elements.
    fn mean(m: usize, rows: Rows, out: &mut [f32]);
}

macro_rules! kernels {
    ($simd:ty, $vectors:literal x $most:literal, $narrow:ty, $most_narrow:literal,
     $dot:ty, $most_dot:literal $(, $dot_feature:literal)?; $($feature:literal)?) => {
        impl Kernels for $simd {
            const PANEL: usize = $vectors * <$simd as Simd>::LANES;

            fn product(product: &Product, out: &mut RowsMut) {
                $(#[target_feature(enable = $feature)])?
                unsafe fn full(product: &Product, out: &mut RowsMut) {
                    // SAFETY: bounds are checked below; the instructions are there.
                    unsafe { self::product::<$simd, $vectors, $most>(product, out) }
                }
                $(#[target_feature(enable = $feature)])?
                unsafe fn wide(product: &Product, out: &mut RowsMut) {
                    // SAFETY: as above.
                    unsafe { self::product::<$simd, { WIDE / <$simd as Simd>::LANES }, $most>(product, out) }
                }
                $(#[target_feature(enable = $feature)])?
                unsafe fn narrow(product: &Product, out: &mut RowsMut) {
                    const VECTORS: usize = NARROW / <$narrow as Simd>::LANES;
                    // SAFETY: as above.
                    unsafe { self::product::<$narrow, VECTORS, $most_narrow>(product, out) }
                }
                product.check(out, Self::PANEL);
                // SAFETY: bounds are checked; a network is made for processors that have the instructions.
                unsafe {
                    match product.panel.width {
                        NARROW => narrow(product, out),
                        width if width == Self::PANEL => full(product, out),
                        _ => wide(product, out),
                    }
                }
            }

            fn byte_product(product: &ByteProduct, out: &mut RowsMut) {
                const FULL: usize = <$simd as Kernels>::PANEL / <$dot as Simd>::LANES;
                const HALF: usize = WIDE / <$dot as Simd>::LANES;
                $(#[target_feature(enable = $dot_feature)])?
                unsafe fn full(product: &ByteProduct, out: &mut RowsMut) {
                    // SAFETY: bounds are checked below; the instructions are there.
                    unsafe { self::byte_product::<$dot, FULL, $most_dot>(product, out) }
                }
                $(#[target_feature(enable = $dot_feature)])?
                unsafe fn half(product: &ByteProduct, out: &mut RowsMut) {
                    // SAFETY: as above.
                    unsafe { self::byte_product::<$dot, HALF, $most_dot>(product, out) }
                }
                product.check(out, Self::PANEL);
                // SAFETY: bounds are checked; a network of bytes is made for processors that have the instructions.
                unsafe {
                    if product.panel.width == Self::PANEL { full(product, out) } else { half(product, out) }
                }
            }

            fn range(from: &[f32]) -> (f32, f32) {
                $(#[target_feature(enable = $feature)])?
                unsafe fn run(from: &[f32]) -> (f32, f32) {
                    // SAFETY: the instructions are there.
                    unsafe { self::range::<$simd>(from) }
                }
                // SAFETY: a network is made for processors that have the instructions.
                unsafe { run(from) }
            }

            fn quantise(from: &[f32], factor: f32, zero: f32, to: &mut [u8]) {
                $(#[target_feature(enable = $feature)])?
                unsafe fn run(from: &[f32], factor: f32, zero: f32, to: &mut [u8]) {
                    self::quantise(from, factor, zero, to)
                }
                // SAFETY: a network is made for processors that have the instructions.
                unsafe { run(from, factor, zero, to) }
            }

            fn depthwise(depthwise: &Depthwise, out: &mut RowsMut) {
                $(#[target_feature(enable = $feature)])?
                unsafe fn run(d: &Depthwise, out: &mut RowsMut) {
                    // SAFETY: bounds are checked below; the instructions are there.
                    unsafe {
                        match (d.stride, d.rows_out) {
                            (1, 2) => depthwise_dense::<$simd, 2>(d, out),
                            (1, _) => depthwise_dense::<$simd, 1>(d, out),
                            _ => depthwise_strided::<$simd>(d, out),
                        }
                    }
                }
                depthwise.check(out);
                // SAFETY: bounds are checked; a network is made for processors that have the instructions.
                unsafe { run(depthwise, out) }
            }

            fn mean(m: usize, rows: Rows, out: &mut [f32]) {
                $(#[target_feature(enable = $feature)])?
                unsafe fn run(m: usize, rows: Rows, out: &mut [f32]) {
                    // SAFETY: bounds are checked below; the instructions are there.
                    unsafe { self::mean::<$simd>(m, rows, out) }
                }
                assert!(m > 0 && out.len().is_multiple_of(WIDE));
                assert!((m - 1) * rows.pitch + out.len() <= rows.data.len());
                // SAFETY: bounds are checked; a network is made for processors that have the instructions.
                unsafe { run(m, rows, out) }
            }
        }
    };
}

// Registers hold `vectors x rows` sums, `vectors` weights and an activation. Eight channels fill half of AVX-512's.
#[cfg(target_arch = "x86_64")]
kernels!(
    crate::simd::Avx512, 2 x 14, crate::simd::Avx2, 14,
    crate::simd::Avx512, 14, "avx512f,avx512vl,avx512vnni"; "avx512f,avx512vl,avx512bw,avx2,fma"
);
#[cfg(target_arch = "x86_64")]
kernels!(crate::simd::Avx2, 2 x 6, crate::simd::Avx2, 12, crate::simd::Avx2, 4, "avx2,fma"; "avx2,fma");
#[cfg(target_arch = "aarch64")]
kernels!(crate::simd::Neon, 4 x 6, crate::simd::Neon, 12, Portable, 1, "neon"; "neon");
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
kernels!(crate::simd::Simd128, 4 x 3, crate::simd::Simd128, 6, Portable, 1; "simd128");
kernels!(Portable, 2 x 4, Portable, 8, Portable, 1;);

/// Goes down `m` rows in tiles of at most `MOST`, as equal as they can be: a tile of few rows waits for its own sums.
macro_rules! tiles {
    ($tile:ident::<$simd:ty, $vectors:ident>, $most:ident, $product:ident, $out:ident) => {{
        let tiles = $product.m.div_ceil($most);
        let mut row = 0;
        for t in 1..=tiles {
            let end = $product.m * t / tiles;
            tiles!(@rows end - row, $most, $tile::<$simd, $vectors>($product, row, $out); 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
            row = end;
        }
    }};
    (@rows $n:expr, $most:ident, $tile:ident::<$simd:ty, $vectors:ident>($product:ident, $row:ident, $out:ident);
     $($rows:literal)*) => {
        match $n {
            // SAFETY: rows below `m`; for the rest, see the function.
            $($rows if $rows <= $most => unsafe { $tile::<$simd, $rows, $vectors>($product, $row, $out) },)*
            n => unreachable!("a tile of {n}"),
        }
    };
}

/// # Safety
/// [`Product::check`] has passed; the processor has the instructions of `S`; `MOST <= 14`.
#[inline(always)]
unsafe fn product<S: Simd, const VECTORS: usize, const MOST: usize>(p: &Product, out: &mut RowsMut) {
    tiles!(tile::<S, VECTORS>, MOST, p, out);
}

/// `ROWS` rows of the product, from `row`: all sums stay in registers.
///
/// # Safety
/// As for [`product`], and `row + ROWS <= m`.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(p: &Product, row: usize, out: &mut RowsMut) {
    let Panel { k, weight, bias, .. } = p.panel;
    let width = VECTORS * S::LANES;
    let Segmented { rows: Rows { data: a, pitch }, segment, jump } = p.a;
    // SAFETY: see above.
    unsafe {
        let mut start = [S::splat(0.0); VECTORS];
        for v in 0..VECTORS {
            start[v] = S::load(bias, v * S::LANES);
        }
        let mut sums = [start; ROWS];
        let (mut done, mut from) = (0, row * pitch);
        while done < k {
            let n = segment.min(k - done);
            for i in 0..n {
                let mut w = [start[0]; VECTORS];
                for v in 0..VECTORS {
                    w[v] = S::load(weight, (done + i) * width + v * S::LANES);
                }
                for r in 0..ROWS {
                    let x = S::splat(at(a, from + r * pitch + i));
                    for v in 0..VECTORS {
                        sums[r][v] = S::fma(x, w[v], sums[r][v]);
                    }
                }
            }
            done += n;
            from += jump;
        }
        finish_tile::<S, ROWS, VECTORS>(sums, p.clamp, p.residual, row, out);
    }
}

/// Activation and residual, and off to memory. Three small loops, not one: each is unrolled, so that the sums are registers
/// and no array in memory.
///
/// # Safety
/// As for [`product`], and `row + ROWS <= m`.
#[inline(always)]
unsafe fn finish_tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
    mut sums: [[S::V; VECTORS]; ROWS],
    clamp: Clamp,
    residual: Option<Rows>,
    row: usize,
    out: &mut RowsMut,
) {
    // SAFETY: see above.
    unsafe {
        if let Some((min, max)) = clamp.bounds() {
            let (min, max) = (S::splat(min), S::splat(max));
            for r in 0..ROWS {
                for v in 0..VECTORS {
                    sums[r][v] = S::clamp(sums[r][v], min, max);
                }
            }
        }
        if let Some(residual) = residual {
            for r in 0..ROWS {
                for v in 0..VECTORS {
                    let x = S::load(residual.data, (row + r) * residual.pitch + v * S::LANES);
                    sums[r][v] = S::add(sums[r][v], x);
                }
            }
        }
        for r in 0..ROWS {
            for v in 0..VECTORS {
                S::store(out.data, (row + r) * out.pitch + v * S::LANES, sums[r][v]);
            }
        }
    }
}

/// # Safety
/// [`ByteProduct::check`] has passed; the processor has the instructions of `S`; `MOST <= 14`.
#[inline(always)]
unsafe fn byte_product<S: Dot, const VECTORS: usize, const MOST: usize>(p: &ByteProduct, out: &mut RowsMut) {
    tiles!(byte_tile::<S, VECTORS>, MOST, p, out);
}

/// As [`tile`].
///
/// # Safety
/// As for [`byte_product`], and `row + ROWS <= m`.
#[inline(always)]
unsafe fn byte_tile<S: Dot, const ROWS: usize, const VECTORS: usize>(
    p: &ByteProduct,
    row: usize,
    out: &mut RowsMut,
) {
    let BytePanel { k, weight, start: first, scale, bias, .. } = p.panel;
    let Segmented { rows: Rows { data, pitch }, segment, jump } = p.a;
    let width = VECTORS * S::LANES;
    // SAFETY: see above.
    unsafe {
        let mut start = [S::sums(first, 0); VECTORS];
        for v in 0..VECTORS {
            start[v] = S::sums(first, v * S::LANES);
        }
        let mut acc = [start; ROWS];
        let (mut done, mut from) = (0, row * pitch);
        while done < k {
            let n = segment.min(k - done);
            for i in (0..n).step_by(4) {
                let mut w = start;
                for v in 0..VECTORS {
                    w[v] = S::weights(weight, (done + i) * width + 4 * v * S::LANES);
                }
                for r in 0..ROWS {
                    let x = S::four(data, from + r * pitch + i);
                    for v in 0..VECTORS {
                        acc[r][v] = S::dot(acc[r][v], x, w[v]);
                    }
                }
            }
            done += n;
            from += jump;
        }
        let mut floats = [[S::splat(0.0); VECTORS]; ROWS];
        for v in 0..VECTORS {
            let (scale, bias) = (S::load(scale, v * S::LANES), S::load(bias, v * S::LANES));
            for r in 0..ROWS {
                floats[r][v] = S::fma(S::float(acc[r][v]), scale, bias);
            }
        }
        finish_tile::<S, ROWS, VECTORS>(floats, p.clamp, p.residual, row, out);
    }
}

/// Least and largest of some numbers and 0.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn range<S: Simd>(from: &[f32]) -> (f32, f32) {
    // Two registers of each, so that one comparison need not wait for the other.
    let step = 2 * S::LANES;
    let whole = from.len() / step * step;
    let mut bounds = [[0.0; 32]; 2];
    // SAFETY: see above; loads end at `whole`, and two registers hold at most 32 numbers.
    unsafe {
        let (mut least, mut most) = ([S::splat(0.0); 2], [S::splat(0.0); 2]);
        for i in (0..whole).step_by(step) {
            for v in 0..2 {
                let x = S::load(from, i + v * S::LANES);
                least[v] = S::min(least[v], x);
                most[v] = S::max(most[v], x);
            }
        }
        for v in 0..2 {
            S::store(&mut bounds[0], v * S::LANES, least[v]);
            S::store(&mut bounds[1], v * S::LANES, most[v]);
        }
    }
    let rest = &from[whole..];
    let least = bounds[0].iter().chain(rest).fold(0.0, |a: f32, b| a.min(*b));
    (least, bounds[1].iter().chain(rest).fold(0.0, |a: f32, b| a.max(*b)))
}

/// Numbers to bytes, to the nearest.
#[inline(always)]
fn quantise(from: &[f32], factor: f32, zero: f32, to: &mut [u8]) {
    // So large that the last bit of its fraction is worth 1: adding it rounds, and leaves an integer in the low bits.
    // The compiler makes whole registers of this, and not of a conversion.
    const LARGE: f32 = (1 << 23) as f32;
    for (to, from) in to.iter_mut().zip(from) {
        let x = from * factor + zero;
        let x = if x > 0.0 { x } else { 0.0 };
        let x = if x < 255.0 { x } else { 255.0 };
        *to = (x + LARGE).to_bits() as u8;
    }
}

/// Weights of `LANES` channels from `c`: bias and the nine taps.
///
/// # Safety
/// [`Depthwise::check`] has passed, `c + LANES <= width`, and the processor has the instructions of `S`.
#[inline(always)]
unsafe fn taps<S: Simd>(d: &Depthwise, c: usize) -> (S::V, [[S::V; 3]; 3]) {
    // SAFETY: see above.
    unsafe {
        let mut k = [[S::splat(0.0); 3]; 3];
        for y in 0..3 {
            for x in 0..3 {
                k[y][x] = S::load(d.weight, (3 * y + x) * d.weight_pitch + c);
            }
        }
        (S::load(d.bias, c), k)
    }
}

/// `sum` and what an input column adds to it by one column of taps.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn column<S: Simd>(sum: S::V, k: &[[S::V; 3]; 3], x: usize, input: [S::V; 3]) -> S::V {
    // SAFETY: see above.
    unsafe { S::fma(input[2], k[2][x], S::fma(input[1], k[1][x], S::fma(input[0], k[0][x], sum))) }
}

/// The activation, where there is one.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
unsafe fn finish<S: Simd>(sum: S::V, clamp: bool, min: S::V, max: S::V) -> S::V {
    // SAFETY: see above.
    if clamp { unsafe { S::clamp(sum, min, max) } } else { sum }
}

/// Stride 1: a column is loaded once, and adds to three outputs of each row.
///
/// # Safety
/// [`Depthwise::check`] has passed, the stride is 1, `ROWS == rows_out`, and the processor has the instructions of `S`.
#[inline(always)]
unsafe fn depthwise_dense<S: Simd, const ROWS: usize>(d: &Depthwise, out: &mut RowsMut) {
    // SAFETY: see above.
    unsafe {
        let clamp = d.clamp.bounds();
        let (min, max) = clamp.unwrap_or_default();
        let (min, max) = (S::splat(min), S::splat(max));
        for c in (0..d.width).step_by(S::LANES) {
            let (bias, k) = taps::<S>(d, c);
            // Sums of the output at the column to come, and of the one behind it.
            let (mut this, mut next) = ([bias; ROWS], [bias; ROWS]);
            for x in 0..d.columns {
                let mut input = [bias; 4];
                for r in 0..ROWS + 2 {
                    input[r] = S::load(d.rows[r], x * d.pitch + c);
                }
                for r in 0..ROWS {
                    let input = [input[r], input[r + 1], input[r + 2]];
                    if x > 0 {
                        let y = finish::<S>(column::<S>(this[r], &k, 2, input), clamp.is_some(), min, max);
                        S::store(out.data, r * d.row_pitch + (x - 1) * out.pitch + c, y);
                    }
                    this[r] = column::<S>(next[r], &k, 1, input);
                    next[r] = column::<S>(bias, &k, 0, input);
                }
            }
            for r in 0..ROWS {
                let y = finish::<S>(this[r], clamp.is_some(), min, max);
                S::store(out.data, r * d.row_pitch + (d.columns - 1) * out.pitch + c, y);
            }
        }
    }
}

/// Any other stride: one output after another.
///
/// # Safety
/// [`Depthwise::check`] has passed, and the processor has the instructions of `S`.
#[inline(always)]
unsafe fn depthwise_strided<S: Simd>(d: &Depthwise, out: &mut RowsMut) {
    // SAFETY: see above; columns outside the picture are not loaded.
    unsafe {
        let clamp = d.clamp.bounds();
        let (min, max) = clamp.unwrap_or_default();
        let (min, max) = (S::splat(min), S::splat(max));
        for c in (0..d.width).step_by(S::LANES) {
            let (bias, k) = taps::<S>(d, c);
            for x in 0..d.columns_out {
                let mut sum = bias;
                for tap in 0..3 {
                    // A column to the left of the picture wraps around to a large number.
                    let at = (x * d.stride + tap).wrapping_sub(d.left);
                    if at < d.columns {
                        let mut input = [bias; 3];
                        for r in 0..3 {
                            input[r] = S::load(d.rows[r], at * d.pitch + c);
                        }
                        sum = column::<S>(sum, &k, tap, input);
                    }
                }
                S::store(out.data, x * out.pitch + c, finish::<S>(sum, clamp.is_some(), min, max));
            }
        }
    }
}

/// # Safety
/// `m` rows of `out.len()` elements are there, a multiple of 16, and the processor has the instructions of `S`.
#[inline(always)]
unsafe fn mean<S: Simd>(m: usize, rows: Rows, out: &mut [f32]) {
    // SAFETY: see above.
    unsafe {
        let share = S::splat(1.0 / m as f32);
        for c in (0..out.len()).step_by(S::LANES) {
            let mut sum = S::splat(0.0);
            for row in 0..m {
                sum = S::add(sum, S::load(rows.data, row * rows.pitch + c));
            }
            S::store(out, c, S::fma(sum, share, S::splat(0.0)));
        }
    }
}
