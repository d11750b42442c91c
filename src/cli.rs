//! The command line: definitions only.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use fruitjob::JobOptions;
use fruitjob::model::PreprocessingOptions;
use serde::Deserialize;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// A vector per image, every night: featurize images with a CNN, reduce by PCA, write Parquet
#[derive(Parser)]
#[command(version, styles = STYLES, arg_required_else_help = true, after_help = "\
First steps:
  fruitctl samples fruits                    draw pictures to try things out with
  fruitctl run --input fruits --output out   featurize them; open out/report.html
  fruitctl init                              write a fruitctl.toml, so that 'fruitctl run' is enough

Exit codes: 0 done, 2 usage or configuration, 4 permission, 6 the job failed,
8 output in use, 130 interrupted")]
pub struct Cli {
    /// The configuration file [default: fruitctl.toml, where there is one]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Write a commented fruitctl.toml
    Init(InitArgs),
    /// Run the job: images in; PCA vectors, a model and a report out
    #[command(after_help = "\
Flags overrule fruitctl.toml. Stopped or killed, the same command goes on where
it was; run again, it computes what is new.

Examples:
  fruitctl run --input fruits --output out
  fruitctl run --input s3://bucket/Training --output out --model mobilenet_v2.onnx --variance 0.95
  fruitctl run --json | jq -c 'select(.event == \"finished\") | .run.images'")]
    Run(RunArgs),
    /// Draw fruit-like 100x100 JPEGs, one folder a class, to try and load the job with
    #[command(after_help = "\
The same seed draws the same files; those that are there already are left alone.

Example:
  fruitctl samples fruits --classes 131 --per-class 500")]
    Samples(SamplesArgs),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  fruitctl completions bash > ~/.local/share/bash-completion/completions/fruitctl"
    )]
    Completions(CompletionsArgs),
}

#[derive(Args)]
pub struct InitArgs {
    /// Where the images are
    #[arg(short, long, value_name = "URI", default_value = "fruits")]
    pub input: String,
    /// Where the results go
    #[arg(short, long, value_name = "URI", default_value = "out")]
    pub output: String,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
}

#[derive(Args)]
pub struct RunArgs {
    /// Where the job runs [default: local]
    #[arg(long, value_enum)]
    pub target: Option<Target>,
    /// Print events as JSON lines on stdout instead of progress bars
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub job: JobOptions,
    #[command(flatten, next_help_heading = "What the model's file does not say")]
    pub preprocessing: PreprocessingOptions,
}

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// This machine
    Local,
}

#[derive(Args)]
pub struct SamplesArgs {
    /// Where the pictures go
    pub dir: PathBuf,
    /// Folders, each another fruit
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub classes: u32,
    /// Pictures a folder, each another view
    #[arg(long, value_name = "M", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub per_class: u32,
    /// Another seed, other fruit
    #[arg(long, value_name = "S", default_value_t = 360)]
    pub seed: u64,
    /// Write over files that are there and differ
    #[arg(long)]
    pub force: bool,
}

#[derive(Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}
