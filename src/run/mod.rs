//! A run on a cluster: [`pipeline`] checks, prepares, launches a step, follows it and finishes. The cluster ends when the
//! run does, however that ends.

pub mod collect;
pub mod elf;
pub mod engine;
pub mod estimate;
pub mod fingerprint;
mod finish;
pub mod follow;
pub mod history;
pub mod node;
pub mod pipeline;
mod placement;
pub mod preconditions;
mod reporter;
pub mod request;
pub mod settle;
pub mod ship;
pub mod step;
pub mod summary;

pub use pipeline::{ClusterRun, Finished, Outcome};
pub use reporter::Reporter;
pub use request::Request;
