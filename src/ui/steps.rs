//! What is being done to resources: a spinner each on a terminal, lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{DIM, GOOD, edge, note};
use crate::stack::Change;

/// Draws on stderr.
pub struct Steps {
    bars: Option<MultiProgress>,
    running: Mutex<BTreeMap<String, (String, Option<ProgressBar>)>>,
}

impl Steps {
    /// Spinners where stderr is a terminal that understands them, lines elsewhere.
    pub fn new() -> Self {
        let terminal =
            std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        Steps { bars: terminal.then(MultiProgress::new), running: Mutex::default() }
    }

    /// A change begins, is in a state, or is done.
    pub fn report(&self, change: &Change, state: Result<(), &str>) {
        let what = format!("{} {}", change.resource.title(), change.name);
        match state {
            Err(state) => self.state(&what, state),
            Ok(()) => self.done(&what),
        }
    }

    /// Something is in a state; said once.
    pub fn state(&self, what: &str, state: &str) {
        let mut running = self.running.lock().unwrap_or_else(|broken| broken.into_inner());
        let bars = &self.bars;
        let (last, bar) = running.entry(what.to_owned()).or_insert_with(|| {
            let bar = bars.as_ref().map(|bars| {
                let style = ProgressStyle::with_template("  {spinner:.cyan} {msg} {elapsed:.dim}")
                    .expect("a valid template");
                let bar = bars.add(ProgressBar::new_spinner().with_style(style));
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            });
            (String::new(), bar)
        });
        if last == state {
            return;
        }
        *last = state.to_owned();
        match bar {
            Some(bar) => bar.set_message(edge(&format!("{what} {state}"))),
            None => note(&format!("  {what} {state}")),
        }
    }

    /// Something is done.
    pub fn done(&self, what: &str) {
        let mut running = self.running.lock().unwrap_or_else(|broken| broken.into_inner());
        let line = format!("  {GOOD}done{GOOD:#} {what}");
        match running.remove(what) {
            Some((_, Some(bar))) => {
                bar.finish_and_clear();
                match &self.bars {
                    Some(bars) => bars.suspend(|| note(&line)),
                    None => note(&line),
                }
            }
            _ => note(&line),
        }
    }

    /// Makes room for somebody else who draws.
    pub fn clear(&self) {
        let mut running = self.running.lock().unwrap_or_else(|broken| broken.into_inner());
        for (_, (_, bar)) in std::mem::take(&mut *running) {
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        }
    }

    /// A line beside all that.
    pub fn line(&self, text: &str) {
        let print = || note(&format!("  {DIM}{text}{DIM:#}"));
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }
}
