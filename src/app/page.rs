//! The page that recognises, for the command that writes one, and for a run that publishes one.

use fruitjob_interface::count;
use fruitjob_interface::model::Precision;
use fruitjob_interface::page::{PageOptions, PageRecord};

use super::local;
use crate::bundle;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::ui;

/// Below a run's output.
pub const FOLDER: &str = "app";
/// A static page should be no larger: what a phone loads once, in bytes.
const LARGE: u64 = 20_000_000;

/// Writes a page of the configured output's results to a folder or below a URI.
pub fn write(config: &Config, model: Option<&str>, to: &str) -> Result<PageRecord> {
    let wasm = bundle::app()?;
    let default = PageOptions::default();
    let options = PageOptions {
        per_label: config.app.per_label.map_or(default.per_label, |n| n as usize),
        check: config.app.check.unwrap_or(default.check),
    };
    let output = config.job.output.as_deref();
    super::lend_credentials(config, &[output, Some(to)])?;
    local::page(output, model, &options, &wasm, to)
}

/// Whether a run could have the page that the configuration asks for: looked at before it costs anything.
///
/// # Errors
/// [`Kind::Usage`] where it could not.
pub fn check(config: &Config) -> Result<()> {
    if !config.app.publish {
        return Ok(());
    }
    if config.job.precision == Some(Precision::Int8) {
        return Err(Error::usage("[app] publish: a page computes in f32, and this run would in int8")
            .help("leave precision out of [job], or publish out of [app]"));
    }
    bundle::app().map(drop)
}

/// Writes the page of a run that has ended beside its results, where the configuration says so.
///
/// # Errors
/// As a page's; the results are there all the same, and the error says so.
pub fn publish(config: &Config) -> Result<Option<PageRecord>> {
    let Some(output) = config.job.output.as_deref().filter(|_| config.app.publish) else { return Ok(None) };
    let to = format!("{}/{FOLDER}", output.trim_end_matches('/'));
    let written = write(config, config.job.model.as_deref(), &to).map_err(|error| {
        let kind = match error.kind {
            interrupted @ Kind::Interrupted(_) => interrupted,
            _ => Kind::AfterResults,
        };
        Error::new(kind, format!("the run has ended well, but its page could not be written: {error}"))
            .leftover("the results; and the page of before, if there was one")
            .help(format!("fruitctl app --output {output} {to}"))
    })?;
    Ok(Some(written))
}

/// Says what a page has.
pub fn say(record: &PageRecord) {
    let (pictures, photographs) = (record.pictures(), record.photographs());
    ui::say(&format!(
        "page      {} ({}, {:.1} MB)",
        record.page,
        count(record.labels.len() as u64, "label"),
        record.bytes as f64 / 1e6
    ));
    ui::say(&format!(
        "gallery   {}: {}, and {} on a plain white ground (an estimate)",
        count(pictures, "picture"),
        count(photographs, "photograph"),
        pictures - photographs
    ));
    if let Some(check) = record.check {
        let share = |n: u64| 100.0 * n as f64 / check.pictures as f64;
        ui::say(&format!(
            "check     of {} set aside, {:.1} % right, {:.1} % another label, {:.1} % unlike anything there",
            count(check.pictures, "picture"),
            share(check.right),
            share(check.wrong),
            share(check.unlike)
        ));
    }
    if photographs == 0 {
        ui::note(
            "all pictures of the page are on a plain white ground: photographs taken by a phone will mostly not be recognised; \
             add some of each label to the input, in its folder, and run again",
        );
    }
    if !record.pinned {
        ui::note(
            "each night's PCA is another: distances on the page change with it; pin one where that matters (docs/howto/pin-pca.md)",
        );
    }
    if record.bytes > LARGE {
        ui::note("that is much for a phone to load: fewer pictures a label make it smaller (--per-label)");
    }
}
