//! `fruitctl clone`: the same job again.

use super::{cloud, run_emr};
use crate::cli::{Cli, CloneArgs, CloudArgs};
use crate::config::Config;
use crate::error::Result;
use crate::run::history;
use crate::stack::bucket;
use crate::ui;

/// Looks the run up, and runs its job.
pub fn run(cli: &Cli, args: &CloneArgs) -> Result<()> {
    let config = cloud::config(cli, &CloudArgs { region: args.cluster.region.clone(), json: args.json })?;
    let entry = cloud::block_on(async {
        let (aws, names) = cloud::connect(&config).await?;
        history::find(Some(&args.run), &bucket::Spec::new(&names, &config.bucket).name, &aws).await
    })?;
    let (job, preprocessing) = entry.job()?;
    ui::note(&format!("again: {}", job.args().join(" ")));
    run_emr::run(Config { job, preprocessing, ..config }, &args.cluster, args.json)
}
