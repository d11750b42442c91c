//! `fruitctl run`: the job, here and now.

use std::sync::Arc;

use fruitjob_interface::event::JsonLines;
use fruitjob_interface::location::Location;
use fruitjob_interface::{Event, Observer};

use crate::cli::{Cli, RunArgs, Target};
use crate::config::Config;
use crate::error::Result;
use crate::run::summary::Summary;
use crate::ui::progress::Progress;
use crate::{local, ui};

/// Runs the job where the configuration says.
pub fn run(cli: &Cli, args: &RunArgs) -> Result<()> {
    let config = Config::load(cli.config.as_deref())?;
    match args.target.or(config.target).unwrap_or(Target::Local) {
        Target::Local => here(config, args),
        Target::Emr => {
            let job = args.job.clone().or(config.job.clone());
            let preprocessing = args.preprocessing.clone().or(config.preprocessing.clone());
            super::run_emr::run(Config { job, preprocessing, ..config }, &args.cluster, args.json)
        }
    }
}

/// Runs the job in this process and shows how it goes.
fn here(config: Config, args: &RunArgs) -> Result<()> {
    let observer: Arc<dyn Observer> = if args.json { Arc::new(JsonLines) } else { Arc::new(Progress::new()) };
    ui::stamp_lines();
    let mut summary = Summary::new(crate::run::new_id());
    let folder = match args.job.output.as_ref().or(config.job.output.as_ref()) {
        Some(output) => match Location::parse(output)? {
            Location::Local(folder) => Some(folder),
            Location::Remote(_) => None,
        },
        None => None,
    };
    let job = args.job.clone().or(config.job);
    let preprocessing = args.preprocessing.clone().or(config.preprocessing);
    let result = local::run(job, preprocessing, observer.clone());
    match &result {
        Ok((record, output)) if !args.json => ui::summary::print(record, output),
        Ok(_) => {}
        Err(e) => observer.event(&Event::Failed { message: e.to_string(), exit_code: e.kind.exit_code() }),
    }
    let result = result.map(|(record, _)| summary.run = Some(record));
    summary.end(&result);
    // No folder is made for a run that could not begin.
    result.and(summary.publish(folder.as_deref().filter(|folder| folder.is_dir())))
}
