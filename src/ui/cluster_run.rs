//! A run on a cluster, on the terminal or as lines of JSON.

use fruitjob_interface::{Event, Observer};

use super::progress::Progress;
use super::steps::Steps;
use super::{note, say};
use crate::logs::Stream;
use crate::run::Reporter;
use crate::stack::Change;

/// Draws on stderr; events go to stdout as they come, if they are wanted there.
pub struct ClusterRunReporter {
    steps: Steps,
    progress: Progress,
    json: bool,
}

impl ClusterRunReporter {
    /// For people; or, with `json`, for programs.
    pub fn new(json: bool) -> Self {
        ClusterRunReporter { steps: Steps::new(), progress: Progress::new(), json }
    }
}

impl Reporter for ClusterRunReporter {
    fn state(&self, what: &str, state: &str) {
        self.steps.state(what, state);
    }

    fn done(&self, what: &str) {
        self.steps.done(what);
    }

    fn change(&self, change: &Change, state: Result<(), &str>) {
        self.steps.report(change, state);
    }

    fn clear(&self) {
        self.steps.clear();
    }

    fn note(&self, text: &str) {
        note(text);
    }

    fn warn(&self, text: &str) {
        self.progress.event(&Event::Warning { message: text.to_owned() });
    }

    fn event(&self, event: &Event, line: &str) {
        // The last event is ours: when the results have been checked, or the failure is explained.
        match event {
            Event::Finished { .. } | Event::Failed { .. } => {}
            _ if self.json => say(line),
            _ => self.progress.event(event),
        }
    }

    fn output(&self, stream: Stream, line: &str) {
        match stream {
            Stream::Out if !self.json => say(line),
            _ => note(line),
        }
    }
}
