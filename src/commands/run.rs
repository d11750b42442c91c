//! `fruitctl run`: the job, here and now.

use std::sync::Arc;

use fruitjob_interface::location::Location;
use fruitjob_interface::{Event, JobOptions, Observer};

use crate::app::cluster_run::cluster_run;
use crate::app::{self, local, notify, page};
use crate::cli::{Cli, ClusterArgs, RunArgs};
use crate::config::{Config, Target};
use crate::error::{Error, Result};
use crate::run::request::new_id;
use crate::run::summary::Summary;
use crate::ui;
use crate::ui::progress::Progress;

/// Runs the job where the configuration says.
pub fn run(cli: &Cli, args: &RunArgs) -> Result<()> {
    let config = app::settings(cli, args)?;
    page::check(&config)?;
    match config.target.unwrap_or(Target::Local) {
        Target::Local if args.cluster.estimate => Err(Error::usage(
            "--estimate is about runs on a cluster: on this machine, nothing has to be paid",
        )
        .help("fruitctl run; or, about a cluster: fruitctl run --estimate --target emr")),
        Target::Local => {
            let ClusterArgs { one_shot, if_changed, keep, max_cost, executable, .. } = &args.cluster;
            let set = [
                ("--one-shot", *one_shot),
                ("--if-changed", *if_changed),
                ("--keep", *keep),
                ("--max-cost", max_cost.is_some()),
                ("--executable", executable.is_some()),
            ];
            let set: Vec<_> = set.into_iter().filter_map(|(flag, is_set)| is_set.then_some(flag)).collect();
            if !set.is_empty() {
                ui::note(&format!(
                    "{}: for runs on a cluster (--target emr), and without effect here",
                    set.join(", ")
                ));
            }
            here(config, args.json)
        }
        Target::Emr => {
            match cluster_run(&config, &args.cluster, args.json)? {
                // The bucket's own place is named by no file.
                Some(output) => {
                    let job = JobOptions { output: Some(output), ..config.job.clone() };
                    publish(&Config { job, ..config }, args.json)
                }
                None => Ok(()),
            }
        }
    }
}

/// Runs the job in this process and shows how it goes.
fn here(config: Config, json: bool) -> Result<()> {
    let observer: Arc<dyn Observer> = if json { Arc::new(ui::JsonLines) } else { Arc::new(Progress::new()) };
    ui::stamp_lines();
    let mut summary = Summary::new(new_id());
    (summary.input, summary.output) = (config.job.input.clone(), config.job.output.clone());
    let folder = match &config.job.output {
        Some(output) => match Location::parse(output)? {
            Location::Local(folder) => Some(folder),
            Location::Remote(_) => None,
        },
        None => None,
    };
    let result = local::run(config.job.clone(), config.preprocessing.clone(), observer.clone());
    match &result {
        Ok((record, output)) if !json => ui::summary::print(record, output),
        Ok(_) => {}
        Err(e) => observer.event(&Event::Failed { message: e.to_string(), exit_code: e.kind.exit_code() }),
    }
    let result = result.map(|(record, _)| summary.run = Some(record));
    summary.end(&result);
    notify::failed(&summary);
    // No folder is made for a run that could not begin.
    result.and(ui::summary::publish(&summary, folder.as_deref().filter(|folder| folder.is_dir())))?;
    publish(&config, json)
}

/// Writes the page of a run that has ended, where the configuration says so.
fn publish(config: &Config, json: bool) -> Result<()> {
    if let Some(record) = page::publish(config)?.filter(|_| !json) {
        page::say(&record);
    }
    Ok(())
}
