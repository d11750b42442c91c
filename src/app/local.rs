//! The job in this process: the one place that knows how it is done. Without the feature `local`, `no_local.rs` stands here.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fruitjob::gallery::{self, Gallery};
use fruitjob::model::{Model, Wanted, inside};
use fruitjob::{Context, Job, pipeline};
use fruitjob_interface::location::Location;
use fruitjob_interface::model::{DEFAULT, Inside, InsideFacts, PreprocessingOptions};
use fruitjob_interface::page::{PageOptions, PageRecord};
use fruitjob_interface::prune::Garbage;
use fruitjob_interface::recognition::Recognition;
use fruitjob_interface::{EngineKind, Event, JobOptions, Observer, RunRecord};
use tokio::runtime::Runtime;

use crate::bundle;
use crate::error::{Error, Result};

/// Runs a job; its record, and where its results are.
pub fn run(
    job: JobOptions,
    preprocessing: PreprocessingOptions,
    observer: Arc<dyn Observer>,
) -> Result<(RunRecord, Location)> {
    let runtime = runtime()?;
    let result = execute(job, preprocessing, Context::new(runtime.handle().clone(), observer));
    // A read that hangs is no reason to wait.
    runtime.shutdown_background();
    result
}

fn execute(
    options: JobOptions,
    preprocessing: PreprocessingOptions,
    context: Context,
) -> Result<(RunRecord, Location)> {
    if options.engine == Some(EngineKind::Spark) {
        return Err(Error::usage("engine spark is a cluster's; this machine's is local")
            .help("set target = \"emr\", or leave engine out; where you have a Spark of your own: fruitjob run --engine spark"));
    }
    for (place, name) in [(&options.input, "input"), (&options.output, "output")] {
        if place.is_none() {
            return Err(Error::usage(format!(
                "no {name}; type 'fruitctl run --input DIR --output DIR', or 'fruitctl init' for a fruitctl.toml \
                 that says it once and for all ('fruitctl samples fruits' draws pictures to try with)"
            )));
        }
    }
    let job = Job::new(options, preprocessing)?;
    context.stop_on_signals()?;
    let output = job.output.clone();
    Ok((pipeline::run(job, context)?, output))
}

/// Whether a model of this machine can be a run's: what a node would find out after minutes that are paid.
pub fn check_model(job: &JobOptions, preprocessing: &PreprocessingOptions) -> Result<()> {
    let name = job.model.as_deref().unwrap_or(DEFAULT);
    if name.contains("://") {
        return Ok(());
    }
    let runtime = runtime()?;
    let wanted = Wanted {
        name,
        output_node: job.output_node.as_deref(),
        // That is compared when it is shipped.
        sha256: None,
        preprocessing,
        precision: job.precision.unwrap_or_default(),
    };
    Ok(Model::load(&wanted, runtime.handle()).map(drop)?)
}

/// Says what images are, by the nearest pictures of a run's results; `opened` is told how many images there are and pictures
/// in the results, and `done` of each image.
pub fn recognise(
    output: Option<&str>,
    model: Option<&str>,
    images: &[PathBuf],
    neighbours: usize,
    opened: &dyn Fn(usize, usize),
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Recognition>> {
    let output = output.ok_or_else(|| {
        Error::usage(
            "no output; name the results of a run by --output DIR, or output under [job] in fruitctl.toml",
        )
    })?;
    let images = gallery::images(images)?;
    let runtime = runtime()?;
    let context = Context::new(runtime.handle().clone(), Arc::new(Silent));
    context.stop_on_signals()?;
    let gallery = Gallery::open(&Location::parse(output)?, model, &context)?;
    opened(images.len(), gallery.len());
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Ok(gallery.recognise(&images, neighbours, threads, &context, done)?)
}

/// What is known of the models that come with the program.
pub fn models() -> Result<Vec<InsideFacts>> {
    let runtime = runtime()?;
    let facts = |inside| Ok(inside::facts(inside, runtime.handle())?);
    Inside::ALL.into_iter().map(facts).collect()
}

/// Has the job's own reads and writes in S3 done by these options; see [`fruitjob::storage::lend`].
pub fn lend(options: Vec<(String, String)>) {
    fruitjob::storage::lend(options);
}

/// Writes a page of a run's results.
pub fn page(
    output: Option<&str>,
    model: Option<&str>,
    options: &PageOptions,
    wasm: &[u8],
    to: &str,
) -> Result<PageRecord> {
    let output = output.ok_or_else(|| {
        Error::usage(
            "no output; name the results of a run by --output DIR, or output under [job] in fruitctl.toml",
        )
    })?;
    let runtime = runtime()?;
    let context = Context::new(runtime.handle().clone(), Arc::new(Silent));
    context.stop_on_signals()?;
    let gallery = Gallery::open(&Location::parse(output)?, model, &context)?;
    Ok(fruitjob::page::write(&gallery, options, wasm, &Location::parse(to)?, &context)?)
}

/// Finds what is of no use in an output, and deletes it unless this is a trial.
pub fn prune(output: Option<&str>, since: i64, trial: bool) -> Result<Vec<Garbage>> {
    let output = output.ok_or_else(|| {
        Error::usage("no output; type 'fruitctl prune --output DIR', or name one in fruitctl.toml")
    })?;
    let location = Location::parse(output)?;
    if matches!(&location, Location::Local(dir) if !dir.is_dir()) {
        return Err(Error::usage(format!("there is no output {output}")).help("fruitctl run"));
    }
    let runtime = runtime()?;
    let context = Context::new(runtime.handle().clone(), Arc::new(Silent));
    context.stop_on_signals()?;
    Ok(fruitjob::prune::prune(&location, since, trial, &context)?)
}

/// Draws pictures; `drawn` is told of each.
pub fn draw(
    dir: &Path,
    classes: usize,
    per_class: usize,
    seed: u64,
    force: bool,
    drawn: &(dyn Fn() + Sync),
) -> Result<()> {
    let runtime = runtime()?;
    let context = Context::new(runtime.handle().clone(), Arc::new(Silent));
    context.stop_on_signals()?;
    let drawn = || {
        drawn();
        context.check()
    };
    Ok(fruitjob::samples::draw(dir, classes, per_class, seed, force, &drawn)?)
}

/// A runtime for the job, whose process has every model.
fn runtime() -> Result<Runtime> {
    inside::carry(bundle::MOBILENET_V2);
    Ok(fruitjob::runtime()?)
}

/// Hears nothing.
struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event) {}
}
