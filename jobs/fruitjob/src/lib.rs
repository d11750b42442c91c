//! Images in, PCA vectors and a picture out.
//!
//! A job runs in five stages, each on what the one before left in the output:
//!
//! | stage | reads | leaves |
//! |---|---|---|
//! | `list` | the input's names | the [manifest](artifacts::manifest): images, labels, partitions |
//! | `featurize` | images | [features](artifacts::features) per partition |
//! | `fit` | features, by way of their [moments](pca::moments) | the PCA, and backbone + PCA as one ONNX graph |
//! | `project` | features, PCA | the parts of the results, and the rejects |
//! | `report` | results, a few images | `report.html`; publishes everything |
//!
//! Stages that work partition by partition hand [`exec::Task`]s to an [`exec::Engine`]. Partitions depend on
//! the listing alone and sums merge in a fixed order, so results are the same bytes however the work was
//! spread, stopped and taken up again.
//!
//! The folders are layers: a file imports from its own folder, or from one to the left.
//!
//! ```text
//! error < util, cores < storage, image < pca < model < job, exec, artifacts < stages < pipeline, prune, samples, gallery < page < main
//! ```
//!
//! `exec` runs tasks and knows no stage; `artifacts` knows what lies below an output, and who wrote it is no matter. Neither
//! knows the other. `tests/layers.rs` reads the imports and holds the order.

pub mod artifacts;
mod cores;
mod error;
pub mod exec;
pub mod gallery;
pub mod image;
mod job;
pub mod model;
pub mod page;
pub mod pca;
pub mod pipeline;
pub mod prune;
pub mod samples;
mod stages;
pub mod storage;
mod util;

pub use error::{Error, Result};
pub use exec::context::Context;
pub use job::Job;
pub use stages::serve::serve_task;
pub use util::runtime;
