//! The stages of a run, a file each: `run` is the driver's side, which says in a few words what came of it; `task` is what
//! an engine runs.

pub(crate) mod compare;
pub(crate) mod featurize;
pub(crate) mod fit;
mod labels;
pub(crate) mod list;
pub(crate) mod project;
pub(crate) mod publish;
mod rejects;
pub(crate) mod report;
pub(crate) mod serve;
pub(crate) mod state;
mod worker;

use worker::Worker;

use crate::error::Result;
use crate::exec::{Done, Task};

/// Runs one task. It can be run again, and twice at once: the names of what it writes depend on its partition
/// alone, and so do the bytes.
pub(crate) fn execute(worker: &Worker, task: &Task) -> Result<Done> {
    match task {
        Task::Featurize { partition, reuse } => featurize::task(worker, *partition, reuse),
        Task::Sum { node } => fit::sum(worker, *node),
        Task::Merge { level, node, below } => fit::merge(worker, *level, *node, *below),
        Task::Project { partition } => project::task(worker, *partition),
    }
}
