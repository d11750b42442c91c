//! `fruitctl run`: the job, here and now.

use std::sync::Arc;

use fruitjob::event::JsonLines;
use fruitjob::storage::Location;
use fruitjob::{Context, EngineKind, Event, Job, Observer, Session};

use crate::cli::{Cli, RunArgs, Target};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::run::summary::Summary;
use crate::ui;
use crate::ui::progress::Progress;

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
    let runtime = fruitjob::runtime()?;
    let result = execute(config, args, Context::new(runtime.handle().clone(), observer.clone()));
    // A read that hangs is no reason to wait.
    runtime.shutdown_background();
    match &result {
        Ok(session) if !args.json => ui::summary::print(session),
        Ok(_) => {}
        Err(e) => observer.event(&Event::Failed { message: e.to_string(), exit_code: e.kind.exit_code() }),
    }
    summary.run = result.as_ref().ok().map(|session| session.record.clone());
    let result = result.map(|_| ());
    summary.end(&result);
    // No folder is made for a run that could not begin.
    result.and(summary.publish(folder.as_deref().filter(|folder| folder.is_dir())))
}

fn execute(config: Config, args: &RunArgs, context: Context) -> Result<Session> {
    let options = args.job.clone().or(config.job);
    if options.engine == Some(EngineKind::Spark) {
        return Err(Error::usage("engine spark is a cluster's; this machine's is local")
            .next("set target = \"emr\", or leave engine out; where you have a Spark of your own: fruitjob run --engine spark"));
    }
    for (place, name) in [(&options.input, "input"), (&options.output, "output")] {
        if place.is_none() {
            return Err(Error::usage(format!(
                "no {name}; type 'fruitctl run --input DIR --output DIR', or 'fruitctl init' for a fruitctl.toml \
                 that says it once and for all ('fruitctl samples fruits' draws pictures to try with)"
            )));
        }
    }
    let job = Job::new(options, args.preprocessing.clone().or(config.preprocessing))?;
    context.stop_on_signals()?;
    let mut session = Session::open(job, context)?;
    session.run()?;
    Ok(session)
}
