//! What the page of `fruitctl app` computes with: pixels to a vector, as the job makes it, and the pictures nearest to it.
//!
//! `fruitctl app` [encodes](Bundle::encode) a [`Bundle`] from a run's results; compiled to WebAssembly, this crate
//! [decodes](Bundle::decode) it in the browser and answers ([`Recogniser`]). Both are here, so that they are tested against each
//! other. A bundle is data like any other: decoding checks each length and number.

pub mod bundle;
#[cfg(target_arch = "wasm32")]
mod exports;
mod half;
pub mod pixels;
mod recogniser;

pub use bundle::Bundle;
pub use recogniser::{Answer, Recogniser};
