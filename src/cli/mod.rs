//! The command line: definitions only.

mod values;

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use fruitjob_interface::JobOptions;
use fruitjob_interface::model::PreprocessingOptions;

use crate::config::{CredentialsFrom, SshCidr, Target, project_name};
use values::{account, branch, dollars, duration, environment, host, repository};

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

On AWS (EMR), with 'target = \"emr\"' in fruitctl.toml:
  fruitctl init --target emr                 write a fruitctl.toml for it
  fruitctl doctor                            look for what is missing, before anything is made
  fruitctl plan                              what would be made, and dollars an hour
  fruitctl up                                make it
  fruitctl down                              take all of it away again

Exit codes: 0 done, 2 usage or configuration, 3 the plan has changes, 4 permission,
5 refused by the cloud, 6 the job or cluster failed, 7 timed out, 8 somebody else
is at it, 9 something is left behind, 10 results are there and something after them
failed, 129, 130, 143 stopped by a signal; 1 is a bug")]
pub struct Cli {
    /// The configuration file [default: fruitctl.toml, where there is one]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say what is done behind the scenes: what is tried again; twice, each call. FRUITCTL_LOG says more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Write a commented fruitctl.toml, or a workflow that runs it every night
    #[command(after_help = "\
Beside it, .fruitctl/schema.json lets editors complete and check it. Nothing else
needs that file.

Examples:
  fruitctl init --input fruits --output out
  fruitctl init --target emr --region eu-west-3
  fruitctl init --ci github --repository our-team/nightly")]
    Init(InitArgs),
    /// Run the job: images in; PCA vectors, a model and a report out
    #[command(after_help = "\
Flags overrule fruitctl.toml. Stopped or killed, the same command goes on where
it was; run again, it computes what is new.

Examples:
  fruitctl run --input fruits --output out
  fruitctl run --input s3://bucket/Training --output out --model mobilenet_v2 --variance 0.95
  fruitctl run --json | jq -c 'select(.event == \"finished\") | .run.images'")]
    Run(Box<RunArgs>),
    /// Show what 'up' would do, and what it costs
    #[command(after_help = "\
Examples:
  fruitctl plan
  fruitctl plan --json | jq '.changes[] | select(.action != \"keep\")'
  fruitctl plan --detailed-exitcode          exit code 3 if there is something to do")]
    Plan(PlanArgs),
    /// Make what fruitctl.toml says: bucket, roles, key pair, network, cluster
    #[command(after_help = "\
Makes what is missing and changes what differs; run again, it does nothing.
Killed at any moment, the same command goes on from there.

Examples:
  fruitctl up --dry-run
  fruitctl up --wait                         until the cluster is ready, or why it is not")]
    Up(UpArgs),
    /// Upload images to the bucket: what is new or has changed
    #[command(after_help = "\
A file whose object has the same content is left alone. Stopped, the same
command goes on.

Example:
  fruitctl upload fruits")]
    Upload(UploadArgs),
    /// List the runs of this project
    Runs(CloudArgs),
    /// Print what a run's step said
    #[command(after_help = "\
Examples:
  fruitctl logs                              of the latest run, from the bucket
  fruitctl logs -f                           live, until it has ended")]
    Logs(LogsArgs),
    /// Say where a run's results are, or check and fetch them
    Results(ResultsArgs),
    /// Run the same job again
    Clone(CloneArgs),
    /// Log in to the primary node, or run a command there
    #[command(after_help = "\
Only a node that shows the host key it published in the bucket is talked to.

Example:
  fruitctl ssh -- df -h /mnt")]
    Ssh(SshArgs),
    /// Open local ports to the Spark History Server, YARN and JupyterHub, until Ctrl-C
    Tunnel(CloudArgs),
    /// Show what exists, how the cluster is, and dollars so far
    Status(CloudArgs),
    /// Take away everything that 'up' made, and prove it
    #[command(after_help = "\
Only what carries the project's tag is touched. A bucket with logs or results in
it stays, unless --purge-bucket says otherwise; then it is said whose runs and
results that hurts, and the project's name has to be typed.

Examples:
  fruitctl down --dry-run
  fruitctl down --purge-bucket
  fruitctl down --purge-bucket --yes         where nobody is at a terminal")]
    Down(DownArgs),
    /// Say who holds the project's locks, or take one away
    #[command(after_help = "\
A lock whose command was killed is free by itself: at once on the same machine,
elsewhere for whoever has waited for it for two minutes. Its holder, should he
be there after all, finds out before his next change, and stops.

Example:
  fruitctl unlock
  fruitctl unlock 5f0c2b7a91d3e846")]
    Unlock(UnlockArgs),
    /// Delete what is kept for later runs and no run will ask for again
    #[command(after_help = "\
Features of models other than the one whose results are published; PCAs of
earlier runs, after a while; on AWS, what was shipped for runs of long ago.

Example:
  fruitctl prune --dry-run")]
    Prune(PruneArgs),
    /// End clusters of any project that are past their deadline
    #[command(after_help = "\
Every cluster that fruitctl makes carries a deadline (max_hours under [cluster]).
Run this from a schedule that does not depend on the one that makes clusters.

Example:
  fruitctl sweep --region eu-west-3 --dry-run")]
    Sweep(SweepArgs),
    /// Look for what would make 'up' fail, all at once
    Doctor(StackArgs),
    /// Print the IAM policy that whoever runs fruitctl needs
    #[command(after_help = "\
Examples:
  fruitctl policy --for boundary > boundary.json   once, by an administrator, before 'up'
  fruitctl policy --for setup > setup.json         for 'up' and 'down', beside run.json
  fruitctl policy --for run > run.json             for whoever runs the job")]
    Policy(PolicyArgs),
    /// Draw fruit-like 100x100 JPEGs, one folder a class, to try and load the job with
    #[command(after_help = "\
The same seed draws the same files; those that are there already are left alone.

Example:
  fruitctl samples fruits --classes 131 --per-class 500")]
    Samples(SamplesArgs),
    /// Print the JSON Schema of fruitctl.toml, or of what is written for programs
    #[command(after_help = "\
Examples:
  fruitctl schema config                     of fruitctl.toml, for editors
  fruitctl schema events                     of 'fruitctl run --json', a line
  fruitctl schema run-summary                of run-summary.json")]
    Schema(SchemaArgs),
    /// Print which fruitctl this is, and what it carries
    #[command(after_help = "\
Examples:
  fruitctl version --bundle                  templates, scripts and executables, with their SHA-256
  fruitctl version --extract /opt/fruitjob   the executables of the job, for a Spark of your own")]
    Version(VersionArgs),
    /// Say what images are, by the nearest pictures of a run's results
    #[command(after_help = "\
The images go through the run's own model and PCA, and are held against every picture
of its results. The label is that of the nearest one. An image that is too far from it,
or of whose features the PCA leaves out too much, is unlike anything here; the limits
are worked out from the results (docs/howto/recognise.md). An image that cannot be used
is told, the others go on, and the exit code is 6.

Examples:
  fruitctl recognise --output out photo.jpg
  fruitctl recognise --output s3://bucket/out photos/ --json | jq -c '[.image, .label]'")]
    Recognise(RecogniseArgs),
    /// Write a page that recognises fruit, from a run's results
    #[command(after_help = "\
The page is a folder of files for any static host. It runs in the browser, on a phone
too, and works without a network after the first visit; no picture is sent anywhere.
It has the run's model and PCA, and a few pictures of each label. DIR is a folder or a
URI; what else is there stays, but for pages of before.

Examples:
  fruitctl app --output out page
  fruitctl app --output out page --serve
  fruitctl app --output s3://bucket/out s3://site/fruit --per-label 16")]
    App(PageArgs),
    /// List the models that come with the program
    #[command(after_help = "\
Each is a name for --model. Any other ONNX file that maps an image to a vector will
do as well.

Examples:
  fruitctl models
  fruitctl run --input fruits --output out --model mobilenet_v2")]
    Models(ModelsArgs),
    /// Print the man page, or write one a command to a folder
    #[command(after_help = "\
Examples:
  fruitctl man | man -l -
  fruitctl man ~/.local/share/man/man1       then: man fruitctl-run")]
    Man(ManArgs),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  fruitctl completions bash > ~/.local/share/bash-completion/completions/fruitctl"
    )]
    Completions(CompletionsArgs),
}

#[derive(Args)]
pub struct InitArgs {
    /// Where the images are [default: fruits; on a cluster, input/ in the project's bucket]
    #[arg(short, long, value_name = "URI")]
    pub input: Option<String>,
    /// Where the results go [default: out; on a cluster, output/ in the project's bucket]
    #[arg(short, long, value_name = "URI")]
    pub output: Option<String>,
    /// Where the job runs: decides what the file explains
    #[arg(long, value_enum, default_value = "local")]
    pub target: Target,
    /// The project: part of the name of all that is made in AWS
    #[arg(long, value_name = "NAME", default_value = "fruits", value_parser = project_name)]
    pub project: String,
    /// The AWS region
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Whose credentials: those of a profile, or 'environment' [default: the environment's, or those of profile under [aws]]
    #[arg(long, value_name = "NAME|environment")]
    pub profile: Option<CredentialsFrom>,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
    /// Write a workflow for every night, and the policies of its role, for the fruitctl.toml that is there
    #[arg(long, value_enum, conflicts_with_all = ["target", "input", "output", "project"])]
    pub ci: Option<Ci>,
    /// The repository that may take on the role
    #[arg(long, value_name = "OWNER/NAME", requires = "ci", value_parser = repository)]
    pub repository: Option<String>,
    /// Its branch that may: on GitHub, the one that the environment is for
    #[arg(long, value_name = "NAME", default_value = "main", requires = "ci", value_parser = branch)]
    pub branch: String,
    /// GitHub's environment that the role trusts
    #[arg(long, value_name = "NAME", default_value = "fruitctl", requires = "ci", value_parser = environment)]
    pub environment: String,
    /// The GitLab that it is on
    #[arg(long, value_name = "HOST", default_value = "gitlab.com", requires = "ci", value_parser = host)]
    pub host: String,
    /// The account's number [default: that of the credentials in use]
    #[arg(long, value_name = "NUMBER", requires = "ci", value_parser = account)]
    pub account: Option<String>,
}

/// Who runs things every night.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ci {
    /// GitHub Actions
    Github,
    /// GitLab CI
    Gitlab,
}

/// What all commands that talk to AWS know.
#[derive(Args, Clone)]
pub struct CloudArgs {
    /// The AWS region [default: region under [aws], AWS_REGION, the profile's]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Whose credentials: those of a profile, or 'environment' [default: the environment's, or those of profile under [aws]]
    #[arg(long, value_name = "NAME|environment")]
    pub profile: Option<CredentialsFrom>,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// What has to be known to plan.
#[derive(Args, Clone)]
pub struct StackArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// Who may reach port 22 of the primary node: 'auto' (this machine's address), 'none', or ranges,
    /// with commas between
    #[arg(long, value_name = "CIDR")]
    pub ssh_cidr: Option<SshCidr>,
}

/// How to come by the lock.
#[derive(Args, Clone)]
pub struct LockArgs {
    /// Wait so many seconds for somebody else to finish
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub lock_wait: u32,
    /// Take the lock away from whoever holds it
    #[arg(long)]
    pub force_unlock: bool,
}

#[derive(Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub stack: StackArgs,
    /// Exit with 3 if there is something to do
    #[arg(long)]
    pub detailed_exitcode: bool,
}

#[derive(Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub stack: StackArgs,
    #[command(flatten)]
    pub lock: LockArgs,
    /// Show the plan and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until the cluster is ready
    #[arg(long)]
    pub wait: bool,
    /// Make all that a cluster needs, and no cluster
    #[arg(long, conflicts_with = "wait")]
    pub no_cluster: bool,
}

#[derive(Args)]
pub struct DownArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    #[command(flatten)]
    pub lock: LockArgs,
    /// Delete the bucket with all results and logs in it; of one that was there before, what lies below the prefixes of
    /// fruitctl, but for input/
    #[arg(long)]
    pub purge_bucket: bool,
    /// Do not ask before the bucket is deleted: where nobody is at a terminal, --purge-bucket wants it
    #[arg(long, requires = "purge_bucket")]
    pub yes: bool,
    /// Show what would be deleted and stop
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct UnlockArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// Take the lock with this id away from whoever holds it; without one, list the locks
    #[arg(value_name = "ID")]
    pub id: Option<String>,
}

#[derive(Args)]
pub struct SweepArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// Only clusters of this project: who may end no others would fail for them
    #[arg(long, value_name = "NAME", value_parser = project_name)]
    pub project: Option<String>,
    /// Show what would be ended and stop
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct PruneArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    #[command(flatten)]
    pub lock: LockArgs,
    /// Where the results are [default: output under [job]]
    #[arg(short, long, value_name = "URI")]
    pub output: Option<String>,
    /// Keep PCAs of the last so many days: --pin-pca may ask for them
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    pub pca_days: u32,
    /// Show what would be deleted and stop
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args)]
pub struct SchemaArgs {
    /// Of what
    pub of: SchemaOf,
}

/// What there is a schema of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// fruitctl.toml
    Config,
    /// A line of 'fruitctl run --json'
    Events,
    /// run-summary.json
    RunSummary,
}

/// What a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// What no role that fruitctl makes may exceed: an administrator makes it, once
    Boundary,
    /// What 'up' and 'down' need, beside run
    Setup,
    /// Runs, uploads, and whatever only looks
    Run,
    /// 'sweep --project'
    Sweep,
}

#[derive(Args)]
pub struct PolicyArgs {
    /// What it is for [default: run and setup in one document, which a role's inline policies have room for]
    #[arg(long = "for", value_enum, value_name = "WHAT")]
    pub purpose: Option<Purpose>,
    /// The AWS region [default: region under [aws], AWS_REGION, the profile's]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Whose credentials: those of a profile, or 'environment' [default: the environment's, or those of profile under [aws]]
    #[arg(long, value_name = "NAME|environment")]
    pub profile: Option<CredentialsFrom>,
    /// The account's number [default: that of the credentials in use]
    #[arg(long, value_name = "NUMBER", value_parser = account)]
    pub account: Option<String>,
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
    #[command(flatten, next_help_heading = "On a cluster (target emr)")]
    pub cluster: ClusterArgs,
}

/// What only runs on a cluster know.
#[derive(Args)]
pub struct ClusterArgs {
    /// The AWS region [default: region under [aws], AWS_REGION, the profile's]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Whose credentials: those of a profile, or 'environment' [default: the environment's, or those of profile under [aws]]
    #[arg(long, value_name = "NAME|environment")]
    pub profile: Option<CredentialsFrom>,
    /// Who may reach port 22 of the primary node: 'auto' (this machine's address), 'none', or ranges,
    /// with commas between
    #[arg(long, value_name = "CIDR")]
    pub ssh_cidr: Option<SshCidr>,
    /// Make a cluster for this run alone, even if there is one; as is done when there is none
    #[arg(long)]
    pub one_shot: bool,
    /// Do nothing, and start no cluster, if no image has changed since the last run of the same job
    #[arg(long)]
    pub if_changed: bool,
    /// Leave the cluster when the run has ended
    #[arg(long, conflicts_with = "one_shot")]
    pub keep: bool,
    /// Say how long the run would take and what it would cost, and stop; nothing is made
    #[arg(long)]
    pub estimate: bool,
    /// Do not follow the logs live over SSH
    #[arg(long)]
    pub no_ssh: bool,
    /// Stop after so long: 90s, 45m, 2h [default: 12h]
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "12h", hide_default_value = true)]
    pub max_duration: u64,
    /// Stop when the run has cost so many dollars; refused where something has no price
    #[arg(long, value_name = "DOLLARS", value_parser = dollars, allow_negative_numbers = true)]
    pub max_cost: Option<f64>,
    /// Where the report, run.json and run-summary.json go on this machine
    #[arg(long, value_name = "DIR", default_value = "out")]
    pub download: PathBuf,
    /// The fruitjob to ship [default: the one that fruitctl carries; of a development build, the one beside it]
    #[arg(long, value_name = "FILE")]
    pub executable: Option<PathBuf>,
    #[command(flatten)]
    pub lock: LockArgs,
}

/// Which run.
#[derive(Args)]
pub struct LogsArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// The run, or how its id begins [default: the latest]
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// Go on until the run has ended, live over SSH where possible
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Args)]
pub struct SshArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// A command to run there, after '--'; without, a shell
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Args)]
pub struct ResultsArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// The run, or how its id begins [default: the latest with results]
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// Check the results and fetch report and summary to this folder
    #[arg(long, value_name = "DIR")]
    pub download: Option<PathBuf>,
    /// Fetch the Parquet files too
    #[arg(long, requires = "download")]
    pub parts: bool,
}

#[derive(Args)]
pub struct CloneArgs {
    /// The run, or how its id begins
    pub run: String,
    /// Print events as JSON lines on stdout instead of progress bars
    #[arg(long)]
    pub json: bool,
    #[command(flatten, next_help_heading = "On a cluster (target emr)")]
    pub cluster: ClusterArgs,
}

#[derive(Args)]
pub struct UploadArgs {
    #[command(flatten)]
    pub cloud: CloudArgs,
    /// The folder: one folder a label
    pub dir: PathBuf,
    /// Where to [default: input under [job], or input/ in the project's bucket]
    #[arg(long, value_name = "URI")]
    pub to: Option<String>,
    /// Upload what links lead to as well
    #[arg(long)]
    pub follow_links: bool,
    /// Delete images there that are not here
    #[arg(long)]
    pub delete: bool,
    /// Show what would be uploaded and stop
    #[arg(long)]
    pub dry_run: bool,
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
pub struct VersionArgs {
    /// List what is carried, with its SHA-256
    #[arg(long)]
    pub bundle: bool,
    /// Write the executables of the job to this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["bundle", "json"])]
    pub extract: Option<PathBuf>,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct PageArgs {
    /// Where the page goes: a folder or a URI
    pub dir: String,
    /// The results of a run: a directory or a URI [default: output under [job]]
    #[arg(short, long, value_name = "URI")]
    pub output: Option<String>,
    /// Where the run's model is now, if it was a file and has moved
    #[arg(short, long, value_name = "URI")]
    pub model: Option<String>,
    /// Pictures of each label on the page, at most [default: per_label under [app], or 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub per_label: Option<u32>,
    /// The share of all pictures that is set aside, to say how often the page is right [default: check under [app], or 10%]
    #[arg(long, value_name = "SHARE", value_parser = values::share)]
    pub check: Option<f64>,
    /// Serve the folder to this machine, at this port, until Ctrl-C
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "8000")]
    pub serve: Option<u16>,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct RecogniseArgs {
    /// The images: files, or folders of them
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// The results of a run: a directory or a URI [default: output under [job]]
    #[arg(short, long, value_name = "URI")]
    pub output: Option<String>,
    /// Where the run's model is now, if it was a file and has moved
    #[arg(short, long, value_name = "URI")]
    pub model: Option<String>,
    /// Pictures that are told of each image
    #[arg(short = 'n', long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub neighbours: u32,
    /// Print a line of JSON an image on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ModelsArgs {
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ManArgs {
    /// Where the pages go
    pub dir: Option<PathBuf>,
}

#[derive(Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn the_definitions_fit_together() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn help_names_each_exit_code() {
        let command = <Cli as clap::CommandFactory>::command();
        let help = command.get_after_help().unwrap().to_string();
        let list = help.split_once("Exit codes: ").unwrap().1;
        let mut told: Vec<i32> =
            list.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        let mut codes: Vec<i32> = [0].into_iter().chain(Kind::ALL.map(Kind::exit_code)).collect();
        told.sort_unstable();
        codes.sort_unstable();
        assert_eq!(told, codes);
    }
}
