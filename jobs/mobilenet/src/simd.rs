//! The vector instructions that the kernels are written in, once a kind of processor.
//!
//! Memory is touched by a few functions only: [`load`](Simd::load), [`store`](Simd::store) and [`at`], and, for bytes,
//! [`sums`](Dot::sums), [`weights`](Dot::weights) and [`four`](Dot::four). In tests each of their accesses is checked
//! against its slice.

/// One kind of vector registers.
///
/// # Safety
/// An implementation's methods may be called only where the processor has its instructions; `load` and `store`
/// only with `at + LANES <= slice.len()`.
pub(crate) trait Simd {
    /// A register of [`LANES`](Simd::LANES) numbers.
    type V: Copy;
    /// Numbers in a register; divides 16.
    const LANES: usize;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(from: &[f32], at: usize) -> Self::V;
    unsafe fn store(to: &mut [f32], at: usize, v: Self::V);
    /// `a * b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `v` within bounds that are not negative. Bits of such numbers are in the order of integers, and those of all
    /// negative numbers below them: integer units do it, beside those that multiply.
    unsafe fn clamp(v: Self::V, min: Self::V, max: Self::V) -> Self::V;
}

/// Registers that multiply bytes.
///
/// # Safety
/// As for [`Simd`]; loads only within their slices.
pub(crate) trait Dot: Simd {
    /// A register of [`LANES`](Simd::LANES) 32-bit integers, or of four bytes in place of each.
    type I: Copy;
    /// Integers.
    unsafe fn sums(from: &[i32], at: usize) -> Self::I;
    /// Four signed bytes a lane.
    unsafe fn weights(from: &[i8], at: usize) -> Self::I;
    /// The same four unsigned bytes in each lane.
    unsafe fn four(from: &[u8], at: usize) -> Self::I;
    /// `sum` and the four products of each lane.
    unsafe fn dot(sum: Self::I, a: Self::I, w: Self::I) -> Self::I;
    /// As floats.
    unsafe fn float(sum: Self::I) -> Self::V;
}

/// One number.
///
/// # Safety
/// `i < from.len()`.
#[inline(always)]
pub(crate) unsafe fn at(from: &[f32], i: usize) -> f32 {
    check(from.len(), i, 1);
    // SAFETY: the caller's promise.
    unsafe { *from.get_unchecked(i) }
}

/// In tests, panics unless `at .. at + n` is within `len`.
#[inline(always)]
fn check(len: usize, at: usize, n: usize) {
    if cfg!(any(test, debug_assertions)) {
        assert!(at + n <= len, "elements {at}..{} of {len}", at + n);
    }
}

/// Implements [`Simd`] by intrinsics.
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
macro_rules! simd {
    ($name:ident, $doc:literal, $v:ty, $lanes:literal, $splat:path, $load:path, $store:path, $fma:path, $add:path,
     $min:path, $max:path, $clamp:path) => {
        #[doc = $doc]
        pub(crate) struct $name;

        impl Simd for $name {
            type V = $v;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn splat(x: f32) -> $v {
                // SAFETY: the caller has made sure of the instructions; so below.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(from: &[f32], at: usize) -> $v {
                check(from.len(), at, $lanes);
                // SAFETY: the caller promises that the elements are within the slice.
                unsafe { $load(from.as_ptr().add(at)) }
            }
            #[inline(always)]
            unsafe fn store(to: &mut [f32], at: usize, v: $v) {
                check(to.len(), at, $lanes);
                // SAFETY: the caller promises that the elements are within the slice.
                unsafe { $store(to.as_mut_ptr().add(at), v) }
            }
            #[inline(always)]
            unsafe fn fma(a: $v, b: $v, c: $v) -> $v {
                // SAFETY: see `splat`.
                unsafe { $fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn add(a: $v, b: $v) -> $v {
                // SAFETY: see `splat`.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn min(a: $v, b: $v) -> $v {
                // SAFETY: see `splat`.
                unsafe { $min(a, b) }
            }
            #[inline(always)]
            unsafe fn max(a: $v, b: $v) -> $v {
                // SAFETY: see `splat`.
                unsafe { $max(a, b) }
            }
            #[inline(always)]
            unsafe fn clamp(v: $v, min: $v, max: $v) -> $v {
                // SAFETY: see `splat`.
                unsafe { $clamp(v, min, max) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Simd, check};

    /// # Safety
    /// AVX-512F is there.
    #[inline(always)]
    unsafe fn clamp512(v: __m512, min: __m512, max: __m512) -> __m512 {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_max_epi32(_mm512_castps_si512(v), _mm512_castps_si512(min));
            _mm512_castsi512_ps(_mm512_min_epi32(low, _mm512_castps_si512(max)))
        }
    }

    /// # Safety
    /// AVX2 is there.
    #[inline(always)]
    unsafe fn clamp256(v: __m256, min: __m256, max: __m256) -> __m256 {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_max_epi32(_mm256_castps_si256(v), _mm256_castps_si256(min));
            _mm256_castsi256_ps(_mm256_min_epi32(low, _mm256_castps_si256(max)))
        }
    }

    simd!(
        Avx512,
        "AVX-512F: 32 registers of 16.",
        __m512,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_min_ps,
        _mm512_max_ps,
        clamp512
    );
    simd!(
        Avx2,
        "AVX2 and FMA: 16 registers of 8.",
        __m256,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_min_ps,
        _mm256_max_ps,
        clamp256
    );
}
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// With AVX-512 VNNI.
#[cfg(target_arch = "x86_64")]
impl Dot for Avx512 {
    type I = std::arch::x86_64::__m512i;
    #[inline(always)]
    unsafe fn sums(from: &[i32], at: usize) -> Self::I {
        check(from.len(), at, 16);
        // SAFETY: the caller promises that the elements are within the slice, and has made sure of the
        // instructions; so below.
        unsafe { std::arch::x86_64::_mm512_loadu_si512(from.as_ptr().add(at).cast()) }
    }
    #[inline(always)]
    unsafe fn weights(from: &[i8], at: usize) -> Self::I {
        check(from.len(), at, 64);
        // SAFETY: see `sums`.
        unsafe { std::arch::x86_64::_mm512_loadu_si512(from.as_ptr().add(at).cast()) }
    }
    #[inline(always)]
    unsafe fn four(from: &[u8], at: usize) -> Self::I {
        check(from.len(), at, 4);
        // SAFETY: see `sums`.
        unsafe { std::arch::x86_64::_mm512_set1_epi32(from.as_ptr().add(at).cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn dot(sum: Self::I, a: Self::I, w: Self::I) -> Self::I {
        // SAFETY: see `sums`.
        unsafe { std::arch::x86_64::_mm512_dpbusd_epi32(sum, a, w) }
    }
    #[inline(always)]
    unsafe fn float(sum: Self::I) -> Self::V {
        // SAFETY: see `sums`.
        unsafe { std::arch::x86_64::_mm512_cvtepi32_ps(sum) }
    }
}

/// Bytes are widened and multiplied in pairs, which is exact; AVX2's own product of bytes saturates.
#[cfg(target_arch = "x86_64")]
impl Dot for Avx2 {
    /// Of each four bytes, the first and third as 16-bit numbers, and the second and fourth; of sums, the first alone.
    type I = [std::arch::x86_64::__m256i; 2];
    #[inline(always)]
    unsafe fn sums(from: &[i32], at: usize) -> Self::I {
        use std::arch::x86_64::{_mm256_loadu_si256, _mm256_setzero_si256};
        check(from.len(), at, 8);
        // SAFETY: the caller promises that the elements are within the slice, and has made sure of the
        // instructions; so below.
        unsafe { [_mm256_loadu_si256(from.as_ptr().add(at).cast()), _mm256_setzero_si256()] }
    }
    #[inline(always)]
    unsafe fn weights(from: &[i8], at: usize) -> Self::I {
        use std::arch::x86_64::{_mm256_loadu_si256, _mm256_slli_epi16, _mm256_srai_epi16};
        check(from.len(), at, 32);
        // SAFETY: see `sums`.
        unsafe {
            let bytes = _mm256_loadu_si256(from.as_ptr().add(at).cast());
            [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes)]
        }
    }
    #[inline(always)]
    unsafe fn four(from: &[u8], at: usize) -> Self::I {
        use std::arch::x86_64::{_mm256_and_si256, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_srli_epi16};
        check(from.len(), at, 4);
        // SAFETY: see `sums`.
        unsafe {
            let bytes = _mm256_set1_epi32(from.as_ptr().add(at).cast::<i32>().read_unaligned());
            [_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(bytes)]
        }
    }
    #[inline(always)]
    unsafe fn dot(sum: Self::I, a: Self::I, w: Self::I) -> Self::I {
        use std::arch::x86_64::{_mm256_add_epi32, _mm256_madd_epi16};
        // SAFETY: see `sums`.
        unsafe {
            let products = _mm256_add_epi32(_mm256_madd_epi16(a[0], w[0]), _mm256_madd_epi16(a[1], w[1]));
            [_mm256_add_epi32(sum[0], products), sum[1]]
        }
    }
    #[inline(always)]
    unsafe fn float(sum: Self::I) -> Self::V {
        // SAFETY: see `sums`.
        unsafe { std::arch::x86_64::_mm256_cvtepi32_ps(sum[0]) }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::{Simd, check};

    /// `a * b + c`: the intrinsic has the sum first.
    ///
    /// # Safety
    /// NEON is there: it is part of AArch64.
    #[inline(always)]
    unsafe fn multiply_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe { vfmaq_f32(c, a, b) }
    }

    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn clamp(v: float32x4_t, min: float32x4_t, max: float32x4_t) -> float32x4_t {
        // SAFETY: see above.
        unsafe {
            let low = vmaxq_s32(vreinterpretq_s32_f32(v), vreinterpretq_s32_f32(min));
            vreinterpretq_f32_s32(vminq_s32(low, vreinterpretq_s32_f32(max)))
        }
    }

    simd!(
        Neon,
        "NEON: 32 registers of 4.",
        float32x4_t,
        4,
        vdupq_n_f32,
        vld1q_f32,
        vst1q_f32,
        multiply_add,
        vaddq_f32,
        vminq_f32,
        vmaxq_f32,
        clamp
    );
}
#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    use std::arch::wasm32::*;

    use super::{Simd, check};

    // A module with SIMD128 in it is refused as a whole where it is not to be had: what runs has the instructions, and most of
    // the intrinsics are safe. The wrappers give them the others' form.

    /// # Safety
    /// Four floats are at `from`.
    #[inline(always)]
    unsafe fn load(from: *const f32) -> v128 {
        // SAFETY: see above; it need not be aligned.
        unsafe { v128_load(from.cast()) }
    }

    /// # Safety
    /// Four floats may be written to `to`.
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: v128) {
        // SAFETY: see above; it need not be aligned.
        unsafe { v128_store(to.cast(), v) }
    }

    /// # Safety
    /// None is needed; so below.
    #[inline(always)]
    unsafe fn splat(x: f32) -> v128 {
        f32x4_splat(x)
    }

    /// Rounded twice: the fused one is of relaxed SIMD, which not every browser has.
    ///
    /// # Safety
    /// See `splat`.
    #[inline(always)]
    unsafe fn multiply_add(a: v128, b: v128, c: v128) -> v128 {
        f32x4_add(f32x4_mul(a, b), c)
    }

    /// # Safety
    /// See `splat`.
    #[inline(always)]
    unsafe fn add(a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }

    /// As x86's `minps`, one instruction there; `f32x4_min` looks at signs of zeros and at NaN.
    ///
    /// # Safety
    /// See `splat`.
    #[inline(always)]
    unsafe fn min(a: v128, b: v128) -> v128 {
        f32x4_pmin(b, a)
    }

    /// As `min`.
    ///
    /// # Safety
    /// See `splat`.
    #[inline(always)]
    unsafe fn max(a: v128, b: v128) -> v128 {
        f32x4_pmax(b, a)
    }

    /// # Safety
    /// See `splat`.
    #[inline(always)]
    unsafe fn clamp(v: v128, min: v128, max: v128) -> v128 {
        i32x4_min(i32x4_max(v, min), max)
    }

    simd!(
        Simd128,
        "WebAssembly's SIMD: registers of 4; a browser has 16 or 32 of them.",
        v128,
        4,
        splat,
        load,
        store,
        multiply_add,
        add,
        min,
        max,
        clamp
    );
}
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use wasm::Simd128;

/// No instructions of any kind assumed: what the compiler makes of plain arithmetic. Multiplies and adds are
/// rounded one by one, so results differ from the others' in the last bits.
pub(crate) struct Portable;

const PORTABLE: usize = 8;

#[inline(always)]
fn each(f: impl FnMut(usize) -> f32) -> [f32; PORTABLE] {
    std::array::from_fn(f)
}

impl Simd for Portable {
    type V = [f32; PORTABLE];
    const LANES: usize = PORTABLE;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; PORTABLE]
    }
    #[inline(always)]
    unsafe fn load(from: &[f32], at: usize) -> Self::V {
        check(from.len(), at, PORTABLE);
        // SAFETY: the caller promises that the elements are within the slice.
        unsafe { from.as_ptr().add(at).cast::<Self::V>().read() }
    }
    #[inline(always)]
    unsafe fn store(to: &mut [f32], at: usize, v: Self::V) {
        check(to.len(), at, PORTABLE);
        // SAFETY: the caller promises that the elements are within the slice.
        unsafe { to.as_mut_ptr().add(at).cast::<Self::V>().write(v) }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i].min(b[i]))
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        each(|i| a[i].max(b[i]))
    }
    #[inline(always)]
    unsafe fn clamp(v: Self::V, min: Self::V, max: Self::V) -> Self::V {
        each(|i| v[i].max(min[i]).min(max[i]))
    }
}

impl Dot for Portable {
    /// Bytes are held as integers, four registers of them.
    type I = [[i32; 4]; PORTABLE];
    #[inline(always)]
    unsafe fn sums(from: &[i32], at: usize) -> Self::I {
        std::array::from_fn(|i| [from[at + i], 0, 0, 0])
    }
    #[inline(always)]
    unsafe fn weights(from: &[i8], at: usize) -> Self::I {
        std::array::from_fn(|i| std::array::from_fn(|j| i32::from(from[at + 4 * i + j])))
    }
    #[inline(always)]
    unsafe fn four(from: &[u8], at: usize) -> Self::I {
        [std::array::from_fn(|j| i32::from(from[at + j])); PORTABLE]
    }
    #[inline(always)]
    unsafe fn dot(sum: Self::I, a: Self::I, w: Self::I) -> Self::I {
        std::array::from_fn(|i| std::array::from_fn(|j| sum[i][j] + a[i][j] * w[i][j]))
    }
    #[inline(always)]
    unsafe fn float(sum: Self::I) -> Self::V {
        each(|i| sum[i].iter().sum::<i32>() as f32)
    }
}
