//! One run over one output: takes its lock, runs the stages in order or one of them, and writes the record.

use std::time::Instant;

use fruitjob_interface::event;
use fruitjob_interface::record::{RunRecord, StageRecord};
use fruitjob_interface::{Event, Stage};

use crate::artifacts::{lock, record};
use crate::error::Result;
use crate::exec::Engine;
use crate::exec::context::Context;
use crate::exec::threads::Threads;
use crate::job::Job;
use crate::model::{Model, source};
use crate::stages::state::Run;
use crate::stages::{execute, featurize, fit, list, project, publish, report};
use crate::storage::{Location, Output};

/// Runs all stages, on threads of this process; the record of what was done.
///
/// # Errors
/// [`Error::Locked`](crate::error::Error::Locked) when another run is writing there; whatever a stage fails with.
pub fn run(job: Job, context: Context) -> Result<RunRecord> {
    let engine = Box::new(Threads(job.threads));
    run_on(engine, job, context)
}

/// [`run`], on another engine.
///
/// # Errors
/// As [`run`].
pub fn run_on(engine: Box<dyn Engine>, job: Job, context: Context) -> Result<RunRecord> {
    locked(engine, job, context, |run| {
        // First of all, for it needs no work: is there an input, and a model?
        run.input()?;
        let model = run.model()?;
        run.pinned()?;
        announce(run, &model.name, Some(&model));
        Stage::ALL.into_iter().try_for_each(|stage| run_stage(run, stage))
    })
}

/// Runs one stage, on threads of this process and on what the earlier ones left in the output.
///
/// # Errors
/// As [`run`]; [`Error::Usage`](crate::error::Error::Usage) when an earlier stage has to be run first.
pub fn run_one(stage: Stage, job: Job, context: Context) -> Result<RunRecord> {
    let engine = Box::new(Threads(job.threads));
    locked(engine, job, context, |run| {
        if stage != Stage::List {
            run.record = record::load(&run.output)?;
        }
        let model = (stage == Stage::Featurize).then(|| run.model()).transpose()?;
        announce(run, &source::display_name(&run.job.model), model.as_deref());
        run_stage(run, stage)
    })
}

/// Opens the output, locks it where it is a directory, and has the work done; the last event is the record.
fn locked(
    engine: Box<dyn Engine>,
    job: Job,
    context: Context,
    work: impl FnOnce(&mut Run) -> Result<()>,
) -> Result<RunRecord> {
    let output = Output::open(&job.output, context.runtime.clone())?;
    let _lock = lock::lock(&job.output)?;
    let mut run = Run::new(job, output, context, engine, execute);
    work(&mut run)?;
    run.context.observer.event(&Event::Finished { run: Box::new(run.record.clone()) });
    Ok(run.record)
}

fn announce(run: &Run, name: &str, model: Option<&Model>) {
    let input = run.job.input.as_ref().map(Location::to_string);
    run.context.observer.event(&Event::Started {
        version: event::VERSION,
        input: input.unwrap_or_else(|| run.record.input.clone()),
        output: run.job.output.to_string(),
        model: name.to_owned(),
        engine: model.map(|m| m.backbone.engine().to_owned()),
        not_fast: model.and_then(|m| m.why_general.clone()),
        threads: run.slots(),
    });
}

fn run_stage(run: &mut Run, stage: Stage) -> Result<()> {
    run.context.check()?;
    let start = Instant::now();
    let result = match stage {
        Stage::List => list::run(run),
        Stage::Featurize => featurize::run(run),
        Stage::Fit => fit::run(run),
        Stage::Project => project::run(run),
        Stage::Report => report::run(run),
    };
    run.end();
    let message = result?;
    let seconds = start.elapsed().as_secs_f64();
    run.record.stages.retain(|s| s.stage < stage);
    run.record.stages.push(StageRecord { stage, seconds });
    run.record.spark = run.spark();
    let json = record::save(&run.output, &run.record)?;
    if stage == Stage::Report {
        publish::publish(run, json)?;
        publish::collect_garbage(run)?;
    }
    run.context.observer.event(&Event::StageFinished { stage, seconds, message });
    Ok(())
}
