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
pub mod features;
pub mod featurize;
pub mod fit;
pub mod job;
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
pub mod report;
pub mod samples;
pub mod session;
mod since;
pub mod spark;
pub mod storage;

use fruitjob_interface::hex;
use sha2::{Digest, Sha256};

pub use error::{Error, Result};
pub use fruitjob_interface::{
    EngineKind, Event, JobOptions, Observer, RunRecord, Stage, count, event, layout, number, record,
};
pub use job::Job;
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

fn hex_sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
