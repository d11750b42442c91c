//! The last lines of a run: what came out, and where it lies.

use std::path::Path;

use fruitjob_interface::location::Location;
use fruitjob_interface::record::RunRecord;
use fruitjob_interface::{count, layout};

use crate::error::Result;
use crate::run::summary::{Summary, counts, vectors};

use super::github;
use super::{BOLD, DIM, WARN, number, rate, say, seconds};

/// Writes `run-summary.json` into a folder, and the page of a CI job where there is one.
pub fn publish(summary: &Summary, folder: Option<&Path>) -> Result<()> {
    github::page(&summary.page());
    for warning in summary.run.iter().flat_map(|run| &run.warnings) {
        github::annotate("warning", "fruitctl run", warning);
    }
    if let Some(changes) = summary.run.as_ref().and_then(|run| run.changes.as_ref()) {
        let text = format!("{}; vectors {}", counts(changes), vectors(changes));
        github::annotate("notice", "since the last results", &text);
    }
    folder.map_or(Ok(()), |folder| summary.write(folder))
}

/// Prints them, of a run here.
pub fn print(run: &RunRecord, output: &Location) {
    record(run, &|name| short(output, name));
}

/// Prints them; `place` says where a thing lies.
pub fn record(run: &RunRecord, place: &dyn Fn(&str) -> String) {
    let images = &run.images;
    let mut lines = vec![String::new()];
    if let Some(pca) = &run.pca {
        let explained: f64 = pca.explained_variance_ratio.iter().sum();
        lines.push(format!(
            "{BOLD}{} of {} -> vectors of {}{BOLD:#} ({:.1} % of the variance) in {}",
            count(images.results, "image"),
            count(images.labels, "label"),
            count(pca.components as u64, "component"),
            explained * 100.0,
            seconds(run.seconds())
        ));
    }
    let speed = run.images_per_second().map(|r| format!(" at {} images/s", rate(r))).unwrap_or_default();
    lines.push(format!(
        "{} featurized{speed}, {} from the cache, {} rejected",
        number(images.featurized),
        number(images.cached),
        number(images.rejected)
    ));
    if let Some(changes) = &run.changes {
        lines.push(format!(
            "since     {}: {}",
            changes.finished.as_deref().unwrap_or("the last results"),
            counts(changes)
        ));
        lines.push(format!("vectors   {}", vectors(changes)));
    }
    if let Some(spark) = &run.spark {
        let failed = match spark.failed_attempts {
            0 => String::new(),
            n => format!(", {} failed and tried again", count(n, "attempt")),
        };
        lines.push(format!(
            "spark     {}, {}, {:.1} s to start{failed}",
            count(spark.slots as u64, "slot"),
            count(spark.tasks, "task"),
            spark.start_seconds
        ));
    }
    if !run.passed_over.is_empty() {
        let kinds = run.passed_over.iter().take(6).map(|(kind, n)| format!("{} {kind}", number(*n)));
        let more = if run.passed_over.len() > 6 { ", …" } else { "" };
        lines.push(format!("skipped   {}{more}", kinds.collect::<Vec<_>>().join(", ")));
    }
    for (reason, n) in run.rejects.iter().take(3) {
        lines.push(format!("{WARN}rejected{WARN:#}  {} x {reason}", number(*n)));
    }
    let parts = count(run.parts.len() as u64, "Parquet file");
    lines.push(String::new());
    lines.push(format!("results   {}  {DIM}{parts}{DIM:#}", place(layout::RESULTS)));
    lines
        .push(format!("model     {}  {DIM}PCA as .npy; backbone + PCA as model.onnx{DIM:#}", place("model")));
    if images.rejected > 0 {
        lines.push(format!("rejects   {}", place("rejects.parquet")));
    }
    lines.push(format!("report    {BOLD}{}{BOLD:#}", place(layout::REPORT)));
    say(&lines.join("\n"));
}

/// A path below this directory without this directory.
fn short(output: &Location, name: &str) -> String {
    let full = format!("{output}/{name}");
    match (output, std::env::current_dir()) {
        (Location::Local(_), Ok(here)) => {
            full.strip_prefix(&format!("{}/", here.display())).unwrap_or(&full).to_owned()
        }
        _ => full,
    }
}
