//! Runs the tasks of a stage and brings back their results in order.
//!
//! A task is a plain value, and so is its result: they can cross a pipe as well as a call. All image and
//! feature data goes through the store.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::event::Stage;
use crate::record::SparkRecord;
use crate::session::Worker;
use crate::{featurize, fit, project};

/// A share of a stage.
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
        /// Its place among these tasks.
        node: usize,
    },
    /// Merge the moments of some consecutive nodes of the level below.
    Merge {
        /// Of the tree; 0 is that of [`Task::Sum`].
        level: usize,
        /// Its place in the level.
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

/// What a task reports.
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
    /// SHA-256 of the part written.
    pub sha256: String,
}

/// Tasks of a stage, and what is known of them.
pub struct Batch {
    /// The stage.
    pub stage: Stage,
    /// Units of the stage's progress that they will bring.
    pub units: u64,
    /// The tasks.
    pub tasks: Vec<Task>,
    /// How long each will take, more or less, in seconds; all 0 where the engine does not [ask](Engine::asks).
    pub seconds: Vec<f64>,
}

/// Something that runs tasks: threads here; executors elsewhere.
pub trait Engine: Send {
    /// Runs all tasks and returns their results in the order of the tasks; or the first error, with no task
    /// running any more.
    fn map(&mut self, worker: &Worker, batch: Batch) -> Result<Vec<Done>>;

    /// How many tasks run at once.
    fn slots(&self) -> usize;

    /// Whether it wants to know how long tasks take.
    fn asks(&self) -> bool {
        false
    }

    /// What there is to tell of it, if it is Spark.
    fn spark(&self) -> Option<SparkRecord> {
        None
    }
}

/// Runs tasks on so many threads of this process.
pub struct Threads(pub usize);

impl Engine for Threads {
    fn slots(&self) -> usize {
        self.0
    }

    fn map(&mut self, worker: &Worker, batch: Batch) -> Result<Vec<Done>> {
        let tasks = batch.tasks;
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let error = Mutex::new(None);
        let results = Mutex::new(vec![None; tasks.len()]);
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(task) = tasks.get(index) else { break };
                match execute(worker, task) {
                    Ok(done) => results.lock().expect("no panic holds it")[index] = Some(done),
                    Err(e) => {
                        stop.store(true, Ordering::Relaxed);
                        error.lock().expect("no panic holds it").get_or_insert(e);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.0.min(tasks.len())).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                if thread.join().is_err() {
                    stop.store(true, Ordering::Relaxed);
                    let bug = Error::Bug("a worker thread panicked".into());
                    error.lock().expect("no panic holds it").get_or_insert(bug);
                }
            }
        });
        match error.into_inner().expect("no panic holds it") {
            Some(e) => Err(e),
            None => Ok(results.into_inner().expect("no panic holds it").into_iter().flatten().collect()),
        }
    }
}

/// Runs one task. It can be run again, and twice at once: the names of what it writes depend on its partition
/// alone, and so do the bytes.
pub fn execute(worker: &Worker, task: &Task) -> Result<Done> {
    match task {
        Task::Featurize { partition, reuse } => featurize::task(worker, *partition, reuse),
        Task::Sum { node } => fit::sum(worker, *node),
        Task::Merge { level, node, below } => fit::merge(worker, *level, *node, *below),
        Task::Project { partition } => project::task(worker, *partition),
    }
}
