//! The event stream: what a job says while it runs.
//!
//! `fruitjob` prints one JSON object per line on stdout; `fruitctl` draws its progress bars from the same
//! events, whether they come from a call in its own process, a child, SSH or a log file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::printable::printable;
use crate::record::RunRecord;
use crate::stage::Stage;

/// One line of the stream. New fields and new events may be added; none is renamed or removed within a
/// `version`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event of a job.
    Started {
        /// Version of this stream's format: 2.
        version: u32,
        /// The directory or URI that holds the images.
        input: String,
        /// The directory or URI that the results go to.
        output: String,
        /// The model, as it was named: one that comes with the program (`builtin`), a path or a URI.
        model: String,
        /// The inference engine that runs the model; null where the stage needs none.
        #[serde(default)]
        engine: Option<String>,
        /// Why that is the general engine and not the fast one; null where it is the fast one.
        #[serde(default)]
        not_fast: Option<String>,
        /// Worker threads.
        threads: usize,
    },
    /// A stage begins.
    StageStarted {
        /// The stage that begins.
        stage: Stage,
        /// How many units of work it has, when that is known.
        total: Option<u64>,
        /// What is counted: `images`, `partitions`, `labels`.
        unit: String,
    },
    /// How far a stage is; at most a few a second.
    Progress {
        /// The stage at work.
        stage: Stage,
        /// Units done, those found in the cache included.
        done: u64,
        /// Units that there are, when that is known.
        total: Option<u64>,
        /// Units that were found in the cache.
        cached: u64,
        /// Units rejected.
        rejected: u64,
        /// Bytes of images read.
        bytes: u64,
    },
    /// A stage is complete.
    StageFinished {
        /// The stage that ended.
        stage: Stage,
        /// Its wall time in seconds.
        seconds: f64,
        /// Its result in a few words.
        message: String,
    },
    /// Something a person should know; the job goes on.
    Warning {
        /// The warning, in one sentence.
        message: String,
    },
    /// The last event of a job that worked: everything in `run.json`.
    Finished {
        /// The run's record.
        run: Box<RunRecord>,
    },
    /// The only event of a run with `--if-changed` that had nothing to do.
    Unchanged {
        /// The run whose results stand.
        run: String,
        /// When that had ended, RFC 3339, UTC.
        ended: Option<String>,
    },
    /// The last event of a job that did not.
    Failed {
        /// What failed, on what, and, where that is known, what to do about it.
        message: String,
        /// The process's exit code, from 1 to 9, or 128 and a signal's number.
        exit_code: i32,
    },
}

/// Version of the event stream.
pub const VERSION: u32 = 2;

/// Whoever listens to a job. Called from several threads.
pub trait Observer: Send + Sync {
    /// One event. Must not block for long: workers wait for it.
    fn event(&self, event: &Event);
}

/// Prints the stream: JSON lines on stdout, nothing on stderr.
pub struct JsonLines;

impl Observer for JsonLines {
    fn event(&self, event: &Event) {
        use std::io::Write;
        if let Ok(line) = serde_json::to_string(event) {
            // A reader that went away must not end the job.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{}", printable(&line)).and_then(|()| out.flush());
        }
    }
}
