//! `fruitjob`: the job as a program of its own. Events on stdout, one JSON object a line; words for people on
//! stderr.

use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use fruitjob::exec::launch::launch;
use fruitjob::exec::spark::Spark;
use fruitjob::{Context, Error, Job, pipeline};
use fruitjob_interface::event::JsonLines;
use fruitjob_interface::model::PreprocessingOptions;
use fruitjob_interface::spark::SparkOptions;
use fruitjob_interface::{EngineKind, Event, JobOptions, Observer, Stage, printable};

/// Featurize images with a CNN backbone, fit a PCA, write Parquet, a model and a report
///
/// Prints one JSON event a line on stdout. Killed or stopped, the same command goes on where it was.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all stages
    #[command(
        after_help = "Example:\n  fruitjob run --input s3://fruits/Training --output s3://fruits/out --variance 0.95"
    )]
    Run(RunOptions),
    /// Stage 1: find the images, label them, cut the listing into partitions
    List(Options),
    /// Stage 2: one vector of features per image
    Featurize(Options),
    /// Stage 3: the principal components of all features
    Fit(Options),
    /// Stage 4: each image's coordinates on the components
    Project(Options),
    /// Stage 5: draw the report and publish the results
    Report(Options),
    /// What Spark's driver starts
    #[command(hide = true)]
    Coordinate(RunOptions),
    /// What Spark's executors start
    #[command(hide = true)]
    Task(RunOptions),
}

#[derive(Args)]
struct Options {
    #[command(flatten)]
    job: JobOptions,
    #[command(flatten, next_help_heading = "What the model's file does not say")]
    preprocessing: PreprocessingOptions,
}

#[derive(Args)]
struct RunOptions {
    #[command(flatten)]
    job: Options,
    #[command(flatten, next_help_heading = "With --engine spark")]
    spark: SparkOptions,
}

fn main() {
    match Cli::parse().command.execute() {
        Ok(status) => std::process::exit(status),
        Err(error) => {
            let exit_code = error.exit_code();
            JsonLines.event(&Event::Failed { message: error.to_string(), exit_code });
            // Not eprintln!: it panics when stderr is closed.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("error: {}\n", printable(&error.to_string())),
            );
            std::process::exit(exit_code);
        }
    }
}

impl Command {
    /// The process's exit status.
    fn execute(self) -> Result<i32, Error> {
        let (stage, options) = match self {
            Command::Run(options) => return options.run(),
            Command::Coordinate(options) => return options.coordinate(),
            Command::Task(options) => return options.task(),
            Command::List(options) => (Stage::List, options),
            Command::Featurize(options) => (Stage::Featurize, options),
            Command::Fit(options) => (Stage::Fit, options),
            Command::Project(options) => (Stage::Project, options),
            Command::Report(options) => (Stage::Report, options),
        };
        if options.job.engine == Some(EngineKind::Spark) {
            return Err(Error::Usage(format!(
                "engine spark runs all stages, not {} alone; type: fruitjob run --engine spark",
                stage.name()
            )));
        }
        options.here(|job, context| pipeline::run_one(stage, job, context).map(drop))
    }
}

impl Options {
    /// Does something with the job in this process, until a signal.
    fn here(self, work: impl FnOnce(Job, Context) -> Result<(), Error>) -> Result<i32, Error> {
        let job = Job::new(self.job, self.preprocessing)?;
        let runtime = fruitjob::runtime()?;
        let context = Context::new(runtime.handle().clone(), Arc::new(JsonLines));
        context.stop_on_signals()?;
        work(job, context).map(|()| 0)
    }
}

impl RunOptions {
    fn run(self) -> Result<i32, Error> {
        if self.job.job.engine != Some(EngineKind::Spark) {
            return self.job.here(|job, context| pipeline::run(job, context).map(drop));
        }
        let mut args = JobOptions { engine: None, ..self.job.job.clone() }.args();
        args.extend(self.job.preprocessing.args());
        let mut status = 0;
        self.job.here(|_, context| {
            status = launch(&self.spark, &args, &context)?;
            Ok(())
        })?;
        Ok(status)
    }

    fn coordinate(self) -> Result<i32, Error> {
        let engine = Box::new(Spark::connect(&self.spark)?);
        self.job.here(|job, context| pipeline::run_on(engine, job, context).map(drop))
    }

    fn task(self) -> Result<i32, Error> {
        self.job.here(|job, context| fruitjob::serve_task(&job, context))
    }
}
