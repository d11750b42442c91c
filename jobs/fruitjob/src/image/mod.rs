//! Bytes of a file to pixels, pixels to the tensor that a backbone takes, and back to a file. No I/O.

pub mod decode;
pub(crate) mod encode;
mod jpeg;
mod memory;
pub(crate) mod preprocess;
