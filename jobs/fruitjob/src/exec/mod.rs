//! Runs the tasks of a stage and brings back their results in order: what an engine is, and the engines.
//!
//! A task is a plain value, and so is its result: they can cross a pipe as well as a call. All image and
//! feature data goes through the store. What a task does is not known here: the function that does it is handed in.

pub mod context;
#[cfg(test)]
mod contract;
pub mod launch;
pub(crate) mod progress;
pub mod spark;
pub mod threads;

use context::Context;
use fruitjob_interface::Stage;
use fruitjob_interface::record::SparkRecord;
use progress::Counters;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// A share of a stage, as a plain value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Task {
    /// Compute the features of a partition, or find them.
    Featurize {
        /// Index of the partition.
        partition: usize,
        /// Keys of partitions of earlier listings that may hold features of the same images.
        reuse: Vec<String>,
    },
    /// Add up the moments of some consecutive partitions' features.
    Sum {
        /// The leaf of the tree of moments, from 0.
        node: usize,
    },
    /// Merge the moments of some consecutive nodes of the level below.
    Merge {
        /// Level of the tree, from 1; 0 is that of [`Task::Sum`].
        level: usize,
        /// Place in the level, from 0.
        node: usize,
        /// How many nodes the level below has.
        below: usize,
    },
    /// Write a partition's part of the results.
    Project {
        /// Index of the partition.
        partition: usize,
    },
}

/// What a task reports; what does not concern it is 0 or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Images of the partition, or rows of the part or under the node.
    pub rows: u64,
    /// Images that were computed, not found.
    pub computed: u64,
    /// Images without features.
    pub rejected: u64,
    /// Bytes of images read.
    pub bytes: u64,
    /// SHA-256 of the part written, in hexadecimal.
    pub sha256: String,
}

/// Tasks of a stage, and what is known of them.
pub struct Batch {
    /// The stage that they are of, for messages.
    pub stage: Stage,
    /// Units of the stage's progress that they will bring.
    pub units: u64,
    /// The tasks, in the order in which their results are wanted.
    pub tasks: Vec<Task>,
    /// How long each will take, more or less, in seconds; all 0 where the engine does not [want to know](Engine::wants_costs).
    pub seconds: Vec<f64>,
}

/// Runs one task in this process.
pub type Execute<'a> = &'a (dyn Fn(&Task) -> Result<Done> + Sync);

/// Something that runs tasks: threads of this process, or executors elsewhere.
pub trait Engine: Send {
    /// Runs all tasks and returns their results in the order of the tasks; or the first error, with no task
    /// running any more. Tasks that run in this process are run by `execute`, several at once, and count for themselves;
    /// for those that run elsewhere the engine counts their units into `counters`.
    fn map(
        &mut self,
        execute: Execute,
        context: &Context,
        counters: &Counters,
        batch: Batch,
    ) -> Result<Vec<Done>>;

    /// How many tasks run at once.
    fn slots(&self) -> usize;

    /// Whether it wants to know how long tasks take.
    fn wants_costs(&self) -> bool {
        false
    }

    /// What there is to tell of it, if it is Spark.
    fn spark(&self) -> Option<SparkRecord> {
        None
    }
}
