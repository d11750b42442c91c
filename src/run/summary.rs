//! `run-summary.json`: how a run ended, whichever way it did; for programs, and for the page of a CI job.

use std::path::Path;

use fruitjob_interface::changes::Changes;
use fruitjob_interface::record::RunRecord;
use fruitjob_interface::{count, number, printable, printable_name};
use schemars::JsonSchema;
use serde::Serialize;

use super::collect;
use crate::clock;
use crate::error::{Error, Kind, Result};

/// What the file is called, in the folder where the report goes.
pub const FILE: &str = "run-summary.json";

/// Labels that are named on a page.
const LABELS: usize = 20;

/// How a run ended. New fields may be added; none is renamed or removed within a `version`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Summary {
    /// Version of this format: 1.
    pub version: u32,
    /// Version of fruitctl.
    pub fruitctl: String,
    /// The run; on a cluster, as `fruitctl runs` names it.
    pub id: String,
    /// How it ended.
    pub state: State,
    /// The process's exit code.
    pub exit_code: i32,
    /// Why it failed, what is left, and what to type next.
    pub error: Option<String>,
    /// Where the images are.
    pub input: Option<String>,
    /// Where the results are.
    pub output: Option<String>,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// When it had ended, RFC 3339, UTC.
    pub ended: String,
    /// Id of the cluster; null where there was none.
    pub cluster: Option<String>,
    /// What became of it, in a sentence; null where it is not known, or nothing was started.
    pub left: Option<String>,
    /// Dollars that the cluster's instances cost, as far as prices are known.
    pub dollars: Option<f64>,
    /// The run whose results stand, where nothing had changed.
    pub results_of: Option<String>,
    /// Share of the images that were rejected.
    pub reject_rate: Option<f64>,
    /// All that `run.json` says, where there are results.
    pub run: Option<RunRecord>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// With results.
    Done,
    /// Nothing had changed (`--if-changed`): the last results stand.
    Unchanged,
    /// Without.
    #[default]
    Failed,
    /// By a signal.
    Stopped,
}

/// Version of `run-summary.json`. Version 1 had `since` where `changes` is.
const VERSION: u32 = 2;

impl Summary {
    /// Of a run that begins now.
    pub fn new(id: String) -> Summary {
        Summary {
            version: VERSION,
            fruitctl: env!("CARGO_PKG_VERSION").into(),
            id,
            started: clock::rfc3339(clock::now()),
            ..Summary::default()
        }
    }

    /// Notes how it ended.
    pub fn end(&mut self, result: &Result<()>) {
        self.ended = clock::rfc3339(clock::now());
        self.state = match result {
            Ok(()) if self.results_of.is_some() => State::Unchanged,
            Ok(()) => State::Done,
            Err(Error { kind: Kind::AfterResults, .. }) => State::Done,
            Err(Error { kind: Kind::Interrupted(_), .. }) => State::Stopped,
            Err(_) => State::Failed,
        };
        if let Err(error) = result {
            (self.exit_code, self.error) = (error.kind.exit_code(), Some(error.to_string()));
        }
        self.reject_rate =
            self.run.as_ref().map(|run| run.images.rejected as f64 / run.images.listed.max(1) as f64);
    }

    /// Writes the file into a folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        collect::write(folder, FILE, &serde_json::to_vec_pretty(self).expect("plain data"))
    }

    /// A page for people, in Markdown.
    pub fn page(&self) -> String {
        let how = match self.state {
            State::Done => "done",
            State::Unchanged => "nothing had changed",
            State::Failed => "failed",
            State::Stopped => "stopped",
        };
        let mut rows = Vec::new();
        let mut row = |what: &str, text: String| rows.push(format!("| {what} | {text} |"));
        if let Some(run) = &self.run {
            let i = &run.images;
            row(
                "images",
                format!(
                    "{} of {}: {} featurized, {} from the cache, {} rejected",
                    number(i.results),
                    count(i.labels, "label"),
                    number(i.featurized),
                    number(i.cached),
                    number(i.rejected)
                ),
            );
            if let Some(pca) = &run.pca {
                let explained: f64 = pca.explained_variance_ratio.iter().sum();
                let pinned = if pca.pinned { ", pinned" } else { "" };
                let text = format!(
                    "{} explain {:.1} %",
                    count(pca.components as u64, "component"),
                    explained * 100.0
                );
                row("variance", format!("{text} (PCA {}{pinned})", code(&pca.id)));
            }
            if let Some(changes) = &run.changes {
                row("since the last results", counts(changes));
                row("vectors", vectors(changes));
            }
        }
        if let Some(other) = &self.results_of {
            row("results", format!("those of run {} stand", code(other)));
        }
        if let Some(output) = &self.output {
            row("output", code(output));
        }
        if let Some(cluster) = &self.cluster {
            let dollars = self.dollars.map(|d| format!(", ${d:.2}")).unwrap_or_default();
            row("cluster", format!("{}{dollars}", code(cluster)));
        }
        let mut page = format!("### fruitctl run {}: {how}\n\n", self.id);
        if !rows.is_empty() {
            page += &format!("| | |\n|---|---|\n{}\n\n", rows.join("\n"));
        }
        if let Some(error) = &self.error {
            page += &format!("<pre>{}</pre>\n\n", html(error).replace('\n', "<br>"));
        }
        if let Some(changes) =
            self.run.as_ref().and_then(|run| run.changes.as_ref()).filter(|s| !s.labels.is_empty())
        {
            page += "| label | images before | now |\n|---|---|---|\n";
            for change in changes.labels.iter().take(LABELS) {
                let label = code(&change.label);
                page += &format!("| {label} | {} | {} |\n", number(change.before), number(change.now));
            }
            if changes.labels.len() > LABELS {
                page += &format!("\nand {} more labels\n", changes.labels.len() - LABELS);
            }
        }
        page.trim_end().to_owned() + "\n"
    }
}

/// Others' words on a page of Markdown, on one line: neither HTML, nor the end of a cell, nor a link or an image.
fn code(text: &str) -> String {
    format!("<code>{}</code>", html(&printable_name(text)))
}

/// Text as HTML, with nothing in it that Markdown knows.
fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in printable(text).chars() {
        if c.is_ascii_punctuation() && !matches!(c, '-' | '.' | ',' | '/' | ';') {
            html.push_str(&format!("&#{};", c as u32));
        } else {
            html.push(c);
        }
    }
    html
}

/// What changed among the images, in a few words.
pub fn counts(changes: &Changes) -> String {
    format!(
        "{} new, {} changed, {} removed",
        number(changes.new),
        number(changes.changed),
        number(changes.removed)
    )
}

/// Whether vectors can be compared with the last ones, in a few words.
pub fn vectors(changes: &Changes) -> String {
    match &changes.pca {
        None => "of another model: old and new ones cannot be compared".into(),
        Some(drift) if drift.same => "of the same PCA: old and new ones can be compared".into(),
        Some(drift) => {
            let moved = match drift.vectors_moved {
                Some(moved) => format!("moved by {:.2} % of their length", moved * 100.0),
                None => "of another number of components".into(),
            };
            format!("{moved}; subspace distance {:.4}", drift.subspace_distance)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fruitjob_interface::changes::{Drift, LabelChange};

    #[test]
    fn a_page_says_what_changed_and_what_failed() {
        let mut summary = Summary::new("20261124".into());
        summary.run = Some(RunRecord {
            changes: Some(Changes {
                new: 1200,
                labels: vec![LabelChange { label: "a|b".into(), before: 1, now: 2 }],
                pca: Some(Drift { same: false, subspace_distance: 0.25, vectors_moved: Some(0.015) }),
                ..Changes::default()
            }),
            ..RunRecord::default()
        });
        summary.end(&Ok(()));
        let page = summary.page();
        for part in
            ["1,200 new", "moved by 1.50 % of their length", "| <code>a&#124;b</code> | 1 | 2 |", ": done"]
        {
            assert!(page.contains(part) || part == "{part}\n{page}");
        }
        summary.end(&Err(Error::new(Kind::Denied, "no").help("fruitctl policy")));
        assert!(summary.page().contains("<pre>no<br>  next&#58; fruitctl policy</pre>"));
        assert_eq!((summary.state, summary.exit_code), (State::Failed, 4));
    }
}
