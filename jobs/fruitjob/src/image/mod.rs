//! Bytes of a file to pixels, pixels to the tensor that a backbone takes, and back to a file. No I/O.

/// Raised when decoding or resizing gives other pixels than before: features are computed again, and a PCA that was
/// fitted on the others is not used for them.
pub(crate) const PIXELS_VERSION: u32 = 2;

pub mod decode;
pub(crate) mod encode;
mod formats;
mod jpeg;
mod memory;
pub(crate) mod orientation;
pub(crate) mod preprocess;
