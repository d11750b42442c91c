//! How fast this processor multiplies, to hold the networks' speed against.

use std::time::Instant;

use crate::aligned::Aligned;
use crate::kernels::{Clamp, Kernels, Panel, Product, Rows, RowsMut};
use crate::{Isa, simd};

/// Rows and inputs of the product: with its panel of weights, within the nearest cache.
const ROWS: usize = 84;
const INPUTS: usize = 64;

/// Multiply-adds a second of one core in f32: the best of many runs of a matrix product whose operands stay in the
/// nearest cache. A network cannot be faster than this divided by its [multiply-adds](crate::Network::multiply_adds).
pub fn roof(isa: Isa) -> f64 {
    assert!(isa.is_here(), "{} is not here", isa.name());
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => best::<simd::Avx512>(),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => best::<simd::Avx2>(),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => best::<simd::Neon>(),
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Isa::Simd128 => best::<simd::Simd128>(),
        _ => best::<simd::Portable>(),
    }
}

fn best<K: Kernels>() -> f64 {
    let (a, mut out) = (Aligned::zeros(ROWS * INPUTS), Aligned::zeros(ROWS * K::PANEL));
    let (weight, bias) = (Aligned::zeros(INPUTS * K::PANEL), Aligned::zeros(K::PANEL));
    let product = Product {
        m: ROWS,
        a: Rows { data: &a, pitch: INPUTS }.whole(),
        panel: Panel { k: INPUTS, width: K::PANEL, weight: &weight, bias: &bias },
        clamp: Clamp::None,
        residual: None,
    };
    let mut rate = || {
        const TIMES: usize = 1000;
        let start = Instant::now();
        for _ in 0..TIMES {
            K::product(&product, &mut RowsMut { data: std::hint::black_box(&mut out), pitch: K::PANEL });
        }
        (TIMES * ROWS * INPUTS * K::PANEL) as f64 / start.elapsed().as_secs_f64()
    };
    (0..50).map(|_| rate()).fold(0.0, f64::max)
}
