//! Images in, PCA vectors and a picture out.
//!
//! A job runs in five stages, each on what the one before left in the output:
//!
//! | stage | reads | leaves |
//! |---|---|---|
//! | [`list`](listing) | the input's names | the [manifest](mod@manifest): images, labels, partitions |
//! | [`featurize`] | images | [features] per partition |
//! | [`fit`] | features, by way of their [moments] | the PCA, and backbone + PCA as one ONNX graph |
//! | [`project`] | features, PCA | the parts of the results, and the rejects |
//! | [`report`] | results, a few images | `report.html`; publishes everything |
//!
//! Stages that work partition by partition hand [`engine::Task`]s to an [`engine::Engine`]. Partitions depend on
//! the listing alone and sums merge in a fixed order, so results are the same bytes however the work was
//! spread, stopped and taken up again.

pub mod decode;
pub mod engine;
pub mod error;
pub mod event;
pub mod features;
pub mod featurize;
pub mod fit;
pub mod job;
pub mod layout;
pub mod listing;
pub mod manifest;
pub mod model;
pub mod moments;
mod npy;
mod parquet_io;
pub mod partition;
mod pin;
pub mod preprocess;
pub mod project;
pub mod prune;
pub mod record;
pub mod report;
pub mod samples;
pub mod session;
pub mod since;
pub mod spark;
pub mod storage;

use sha2::{Digest, Sha256};

pub use error::{Error, Result};
pub use event::{Event, Observer, Stage};
pub use job::{EngineKind, Job, JobOptions};
pub use record::RunRecord;
pub use session::{Context, Session};

/// The runtime that serves the object store. Small: the arithmetic has threads of its own. Whoever speaks TLS on it does so
/// by ring.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    // An error says that the process has chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Error::io("cannot start the runtime", e))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn hex_sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A number for people: `1234567` as `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things for people: `1 image`, `2,000 images`.
pub fn count(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", number(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1, 2000].map(|n| count(n, "image")), ["1 image", "2,000 images"]);
    }
}
