//! What people see: progress, a summary, errors. Colour only on a terminal that wants it.

pub mod cluster_run;
mod edge;
pub mod github;
pub mod plan;
pub mod progress;
pub mod steps;
pub mod summary;

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
pub use edge::{Edge, edge};
use fruitjob_interface::error::explain_io;
pub use fruitjob_interface::number;
use fruitjob_interface::{Event, Observer};

use crate::clock;

/// Emphasis.
pub const BOLD: Style = Style::new().bold();
/// What went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What to look at.
pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// What went wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What can be passed over.
pub const DIM: Style = Style::new().dimmed();

/// Why a result could not be printed.
static UNSAID: OnceLock<String> = OnceLock::new();

/// Prints a result on stdout. A reader that went away has read enough; what else stands in the way is told by [`unsaid`].
pub fn say(text: &str) {
    match writeln!(anstream::stdout(), "{}", edge(text)) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => drop(UNSAID.set(explain_io(&error))),
        _ => {}
    }
}

/// Why some of the results are not on stdout, such as a disk that is full.
pub fn unsaid() -> Option<&'static str> {
    UNSAID.get().map(String::as_str)
}

/// Prints a failure on stderr.
pub fn error(error: &crate::error::Error) {
    let _ = writeln!(anstream::stderr(), "{}", edge(&format!("{BAD}error:{BAD:#} {error}")));
}

/// Whether lines on stderr begin with the time.
static STAMPED: AtomicBool = AtomicBool::new(false);

/// From now on, lines on stderr begin with the time, unless a person looks on: a log is read when it is over.
pub fn stamp_lines() {
    STAMPED.store(!std::io::stderr().is_terminal(), Ordering::Relaxed);
}

/// Prints a line on stderr: what is being done, beside the result on stdout.
pub fn note(text: &str) {
    let time =
        if STAMPED.load(Ordering::Relaxed) { clock::rfc3339(clock::now()) + " " } else { String::new() };
    let _ = writeln!(anstream::stderr(), "{}", edge(&format!("{time}{text}")));
}

/// Asks whoever is at the terminal, on stderr; the answer is typed behind it.
pub fn ask(question: &str) {
    let _ = write!(anstream::stderr(), "{question}");
}

/// Prints a value as JSON on stdout.
pub fn json(value: &impl serde::Serialize) {
    say(&serde_json::to_string_pretty(value).expect("our values are JSON"));
}

/// Events as lines of JSON on stdout.
pub struct JsonLines;

impl Observer for JsonLines {
    fn event(&self, event: &Event) {
        say(&serde_json::to_string(event).expect("our values are JSON"));
    }
}

/// Seconds as people say them.
pub fn seconds(s: f64) -> String {
    match s {
        ..10.0 => format!("{s:.1}s"),
        ..60.0 => format!("{s:.0}s"),
        ..3600.0 => format!("{}m{:02}s", s as u64 / 60, s as u64 % 60),
        _ => format!("{}h{:02}m", s as u64 / 3600, s as u64 / 60 % 60),
    }
}

/// A rate with as many digits as mean something.
pub fn rate(per_second: f64) -> String {
    if per_second < 100.0 { format!("{per_second:.1}") } else { number(per_second as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates() {
        assert_eq!(
            [0.04, 59.4, 60.0, 3599.0, 7260.0].map(seconds),
            ["0.0s", "59s", "1m00s", "59m59s", "2h01m"]
        );
    }
}
