//! Progress of a job, drawn from its events: a bar per stage on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fruitjob_interface::{Event, Observer, Stage, count};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{BOLD, DIM, GOOD, WARN, edge, note, number, rate, seconds};

/// Between two plain lines of one stage, at least; and at least a tenth of the time that it has run, so that a
/// log of hours stays readable.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Draws on stderr.
pub struct Progress {
    bars: Option<MultiProgress>,
    stage: Mutex<Option<Running>>,
}

/// The stage that is running.
struct Running {
    stage: Stage,
    unit: String,
    start: Instant,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Progress {
    /// Bars where stderr is a terminal that understands them, lines elsewhere.
    pub fn new() -> Self {
        let terminal =
            std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        Progress { bars: terminal.then(MultiProgress::new), stage: Mutex::new(None) }
    }

    /// Prints a line above the bars.
    fn line(&self, text: &str) {
        let print = || note(text);
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: &Event) {
        let mut running = self.stage.lock().unwrap_or_else(|broken| broken.into_inner());
        match event {
            Event::Started { input, output, model, engine, not_fast, threads, .. } => {
                let engine = engine.as_ref().map(|engine| format!(" on {engine}")).unwrap_or_default();
                self.line(&format!(
                    "{BOLD}{input}{BOLD:#} -> {BOLD}{output}{BOLD:#}  {DIM}model {model}{engine}, {}{DIM:#}",
                    count(*threads as u64, "thread")
                ));
                if let Some(why) = not_fast {
                    self.line(&format!(
                        "{DIM}the general engine runs the model, and not the fast one: {why}{DIM:#}"
                    ));
                }
            }
            Event::StageStarted { stage, total, unit } => {
                let bar = self.bars.as_ref().map(|bars| bars.add(stage_bar(*total, stage.name())));
                let now = Instant::now();
                *running =
                    Some(Running { stage: *stage, unit: unit.clone(), start: now, bar, last_line: now });
            }
            Event::Progress { stage, done, total, cached, rejected, .. } => {
                let Some(running) = running.as_mut().filter(|r| r.stage == *stage) else { return };
                let computed = done.saturating_sub(*cached);
                let per_second = computed as f64 / running.start.elapsed().as_secs_f64().max(1e-3);
                let mut message = running.unit.clone();
                if computed > 0 && running.unit == "images" {
                    message += &format!(", {} {}/s", rate(per_second), running.unit);
                    if let Some(left) = total.map(|t| t.saturating_sub(*done)).filter(|left| *left > 0) {
                        message += &format!(", {} left", seconds(left as f64 / per_second));
                    }
                }
                if *cached > 0 {
                    message += &format!(", {} cached", number(*cached));
                }
                if *rejected > 0 {
                    message += &format!(", {} rejected", number(*rejected));
                }
                match &running.bar {
                    Some(bar) => {
                        bar.set_position(*done);
                        bar.set_message(edge(&message));
                    }
                    None if running.last_line.elapsed() >= PLAIN_EVERY.max(running.start.elapsed() / 10) => {
                        running.last_line = Instant::now();
                        let of = total.map(|t| format!("/{}", number(t))).unwrap_or_default();
                        self.line(&format!("{:<9} {}{of} {message}", stage.name(), number(*done)));
                    }
                    None => {}
                }
            }
            Event::StageFinished { stage, seconds: s, message } => {
                if let Some(bar) = running.take().and_then(|r| r.bar) {
                    bar.finish_and_clear();
                }
                let time = seconds(*s);
                self.line(&format!("{GOOD}{:<9}{GOOD:#} {message}  {DIM}{time}{DIM:#}", stage.name()));
            }
            Event::Warning { message } => self.line(&format!("{WARN}warning:{WARN:#} {message}")),
            // The bar stays, to show how far it came.
            Event::Failed { .. } => {
                if let Some(bar) = running.take().and_then(|r| r.bar) {
                    bar.abandon();
                }
            }
            Event::Finished { .. } | Event::Unchanged { .. } => {}
        }
    }
}

fn stage_bar(total: Option<u64>, name: &str) -> ProgressBar {
    let bar = match total {
        Some(total) => ProgressBar::new(total)
            .with_style(style("{prefix:9.cyan} {bar:28.green/dim} {human_pos}/{human_len} {msg}")),
        None => {
            ProgressBar::new_spinner().with_style(style("{prefix:9.cyan} {spinner:.green} {human_pos} {msg}"))
        }
    };
    bar.with_prefix(name.to_owned())
}

/// A bar of its own, for work that is no job; hidden where stderr is no terminal.
pub fn bar(total: u64, name: &str, unit: &str) -> ProgressBar {
    let bar = stage_bar(Some(total), name).with_message(unit.to_owned());
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a valid template").progress_chars("━╸─")
}
