//! Forward pass of networks in MobileNet's manner on one core: a strided 3x3 stem, blocks of 1x1 expansion, depthwise
//! 3x3 and 1x1 projection, 1x1 head, global mean. (Howard et al., arXiv:1704.04861; Sandler et al., CVPR 2018.)
//!
//! A network is described by its [`Layer`]s, one a convolution, batch norm folded in. [`Network::new`] groups them into
//! blocks and packs the weights for this processor; [`Network::forward`] runs an image through. In a block, a panel
//! of hidden channels is expanded, goes through the depthwise convolution while it is in the nearest cache, and
//! the projection follows strip by strip of rows: the hidden tensor never exists as a whole.

mod aligned;
mod head;
mod kernels;
mod matrix;
mod network;
mod roof;
mod simd;
#[cfg(test)]
mod tests;

pub use head::Step;
pub use kernels::Clamp;
pub use network::{Network, Scratch};
pub use roof::roof;

/// Kinds of processors that there are kernels for, the fastest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX-512F and VL.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// AArch64.
    Neon,
    /// WebAssembly with SIMD of 128 bits, where it is compiled for it.
    Simd128,
    /// Any processor: no instructions of its own.
    Portable,
}

impl Isa {
    /// All of them, in the same order.
    pub const ALL: [Isa; 5] = [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Simd128, Isa::Portable];

    /// As written in settings and records.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Neon => "neon",
            Isa::Simd128 => "simd128",
            Isa::Portable => "portable",
        }
    }

    /// Whether this processor has the instructions.
    pub fn is_here(self) -> bool {
        match self {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx512 => {
                Isa::Avx2.is_here()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
            }
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            Isa::Neon => true,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Isa::Simd128 => true,
            Isa::Portable => true,
            _ => false,
        }
    }

    /// Whether this processor multiplies bytes faster than floats.
    pub fn has_dot(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self == Isa::Avx512 && self.is_here() && is_x86_feature_detected!("avx512vnni");
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// The fastest one here.
    pub fn best() -> Isa {
        Isa::ALL.into_iter().find(|isa| isa.is_here()).expect("one is portable")
    }
}

/// What the 1x1 convolutions, which are nearly all of the work, compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// Bytes, summed exactly in 32 bits: weights with a scale an output; activations with a scale an image and block, from
    /// their own least and largest, or from the activation function's bounds. Stem, depthwise convolutions and residuals
    /// stay in f32. (Jacob et al., CVPR 2018.)
    Int8,
}

/// Rows and columns of zeros that a 3x3 convolution adds around its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Above.
    pub top: usize,
    /// On the left.
    pub left: usize,
    /// Below.
    pub bottom: usize,
    /// On the right.
    pub right: usize,
}

/// One step of a network.
#[derive(Debug, Clone, PartialEq)]
pub enum Layer {
    /// 3x3 convolution of the three colours.
    Stem {
        /// `[outputs][3 colours][3][3]`
        weight: Vec<f32>,
        /// `[outputs]`
        bias: Vec<f32>,
        /// 1 or 2.
        stride: usize,
        /// Around the image.
        padding: Padding,
        /// What follows.
        clamp: Clamp,
    },
    /// 3x3 convolution of each channel by itself.
    Depthwise {
        /// `[channels][3][3]`
        weight: Vec<f32>,
        /// `[channels]`
        bias: Vec<f32>,
        /// 1 or 2.
        stride: usize,
        /// Around the input.
        padding: Padding,
        /// What follows.
        clamp: Clamp,
    },
    /// 1x1 convolution.
    Pointwise {
        /// `[outputs][inputs]`
        weight: Vec<f32>,
        /// `[outputs]`
        bias: Vec<f32>,
        /// What follows.
        clamp: Clamp,
    },
    /// Adds what the layer of this index, counted from 0 over all layers, gave.
    Add(usize),
}
