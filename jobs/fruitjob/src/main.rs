//! `fruitjob`: the job as a program of its own. Events on stdout, one JSON object a line; words for people on
//! stderr.

use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use fruitjob::event::JsonLines;
use fruitjob::model::PreprocessingOptions;
use fruitjob::{Context, Error, Event, Job, JobOptions, Observer, Session, Stage};

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
    Run(Options),
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
}

#[derive(Args)]
struct Options {
    #[command(flatten)]
    job: JobOptions,
    #[command(flatten, next_help_heading = "What the model's file does not say")]
    preprocessing: PreprocessingOptions,
}

fn main() {
    let (stage, options) = match Cli::parse().command {
        Command::Run(options) => (None, options),
        Command::List(options) => (Some(Stage::List), options),
        Command::Featurize(options) => (Some(Stage::Featurize), options),
        Command::Fit(options) => (Some(Stage::Fit), options),
        Command::Project(options) => (Some(Stage::Project), options),
        Command::Report(options) => (Some(Stage::Report), options),
    };
    if let Err(error) = run(stage, options) {
        let exit_code = error.exit_code();
        JsonLines.event(&Event::Failed { message: error.to_string(), exit_code });
        // Not eprintln!: it panics when stderr is closed.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {error}\n"));
        std::process::exit(exit_code);
    }
}

fn run(stage: Option<Stage>, options: Options) -> Result<(), Error> {
    let job = Job::new(options.job, options.preprocessing)?;
    let runtime = fruitjob::runtime()?;
    let context = Context::new(runtime.handle().clone(), Arc::new(JsonLines));
    context.stop_on_signals()?;
    let mut session = Session::open(job, context)?;
    match stage {
        None => session.run(),
        Some(stage) => session.run_one(stage),
    }
}
