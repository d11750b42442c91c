//! `fruitctl runs`: the history of a project.

use crate::app;
use crate::cli::{Cli, CloudArgs};
use crate::error::Result;
use crate::run::history::State;
use crate::run::settle;
use crate::stack::bucket;
use crate::ui;
use crate::ui::{BAD, DIM, GOOD, WARN};

/// Lists the runs, the latest first.
pub fn run(cli: &Cli, args: &CloudArgs) -> Result<()> {
    let config = app::settings(cli, args)?;
    app::block_on(async |_| {
        let (aws, names) = app::connect(&config, app::Access::Reads).await?;
        let bucket = bucket::Spec::new(&names, &config.bucket).name;
        let runs = match bucket::observe(&names, &bucket, &aws).await? {
            Some(_) => settle::runs(&names, &bucket, None, &aws).await?,
            None => Vec::new(),
        };
        if args.json {
            ui::json(&runs);
        } else if runs.is_empty() {
            ui::say("no run yet");
        }
        for run in runs.iter().filter(|_| !args.json) {
            let colour = match run.state {
                State::Done => GOOD,
                State::Running | State::Unknown => WARN,
                State::Failed | State::Stopped => BAD,
            };
            let images =
                run.images.map(|n| format!("{} ", fruitjob_interface::count(n, "image"))).unwrap_or_default();
            let dollars = run.dollars.map(|d| format!("${d:.2} ")).unwrap_or_default();
            let failure = run.failure.as_deref().and_then(|f| f.lines().next()).unwrap_or_default();
            let failed = match run.failed_launches.len() {
                0 => String::new(),
                1 => "after a failed launch ".to_owned(),
                n => format!("after {n} failed launches "),
            };
            ui::say(&format!(
                "{} {colour}{:<8}{colour:#} {failed}{images}{dollars}{} -> {} {DIM}{failure}{DIM:#}",
                run.id,
                run.state.name(),
                run.input,
                run.output
            ));
        }
        Ok(())
    })
}
