//! `-v`, `-vv` and `FRUITCTL_LOG`: what is done behind the scenes, a line an event, on stderr. Silent unless asked for.

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::error::{Error, Result};

/// The variable that says it where no flag does: a level, or levels of modules.
pub const VARIABLE: &str = "FRUITCTL_LOG";

/// Whose events can be shown: ours, and those of the job in this process. Libraries' hold headers of requests, and so secrets.
const OURS: [&str; 2] = ["fruitctl", "fruitjob"];

/// From now on, prints events: with `-v` what is tried again, taken and lost; with `-vv` each call and each look too.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) where the variable cannot be read.
pub fn init(verbose: u8) -> Result<()> {
    let text = std::env::var(VARIABLE).unwrap_or_default();
    let Some(filter) = filter(verbose, &text)? else { return Ok(()) };
    let format = tracing_subscriber::fmt::layer()
        .with_writer(|| crate::ui::Edge(std::io::stderr()))
        .with_ansi(false)
        .with_timer(Clock)
        .compact();
    tracing_subscriber::registry().with(format).with(filter).init();
    Ok(())
}

/// What is shown; none if nothing is. A flag has precedence over the variable.
fn filter(verbose: u8, text: &str) -> Result<Option<Targets>> {
    let level = match verbose {
        0 if text.is_empty() => return Ok(None),
        0 => None,
        1 => Some(Level::INFO),
        2 => Some(Level::DEBUG),
        _ => Some(Level::TRACE),
    };
    let all = |level: LevelFilter| Targets::new().with_targets(OURS.map(|target| (target, level)));
    if let Some(level) = level {
        return Ok(Some(all(level.into())));
    }
    let wrong = |why: &str| {
        Error::usage(format!("{VARIABLE}={text} {why}")).help(format!(
            "{VARIABLE}=debug, or levels of modules: {VARIABLE}=fruitctl::aws=debug,fruitctl::ssh=trace"
        ))
    };
    if let Ok(level) = text.parse::<LevelFilter>() {
        return Ok(Some(all(level)));
    }
    let targets: Targets = text.parse().map_err(|_| wrong("is no level"))?;
    let ours = |target: &str| OURS.contains(&target.split("::").next().unwrap_or_default());
    if targets.default_level().is_some_and(|level| level != LevelFilter::OFF)
        || !targets.iter().all(|(target, _)| ours(target))
    {
        return Err(wrong("names modules that are not fruitctl's, whose events may hold secrets"));
    }
    Ok(Some(targets))
}

/// The time as it stands before all other lines.
struct Clock;

impl tracing_subscriber::fmt::time::FormatTime for Clock {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        writer.write_str(&crate::clock::rfc3339(crate::clock::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(verbose: u8, text: &str, target: &str, level: Level) -> bool {
        filter(verbose, text).unwrap().is_some_and(|filter| filter.would_enable(target, &level))
    }

    #[test]
    fn nothing_is_shown_unless_asked_for() {
        assert!(filter(0, "").unwrap().is_none());
    }

    #[test]
    fn flags_and_variable_say_how_much() {
        assert!(shown(1, "", "fruitctl::aws", Level::INFO) && !shown(1, "", "fruitctl::aws", Level::DEBUG));
        assert!(shown(2, "", "fruitctl::aws", Level::DEBUG) && !shown(2, "", "fruitctl::aws", Level::TRACE));
        assert!(shown(0, "debug", "fruitctl::stack::lock", Level::DEBUG));
        assert!(shown(1, "", "fruitjob::storage::client", Level::INFO));
        assert!(shown(0, "fruitjob=info", "fruitjob::storage::client", Level::INFO));
        assert!(shown(0, "fruitctl::ssh=trace", "fruitctl::ssh::tail", Level::TRACE));
        assert!(!shown(0, "fruitctl::ssh=trace", "fruitctl::aws", Level::ERROR));
        // The flag has precedence.
        assert!(!shown(1, "trace", "fruitctl::aws", Level::DEBUG));
    }

    /// A library's events hold the headers of requests.
    #[test]
    fn events_of_libraries_are_never_shown() {
        for verbose in 1..4 {
            assert!(!shown(verbose, "", "aws_smithy_runtime::client", Level::ERROR));
        }
        assert!(!shown(0, "trace", "hyper", Level::ERROR));
        for text in ["hyper=trace", "fruitctl=debug,aws_smithy_runtime=trace", "fruitctlx=debug"] {
            assert!(filter(0, text).unwrap_err().to_string().contains("secrets"), "{text}");
        }
        assert!(filter(0, "=loud=").is_err());
    }
}
