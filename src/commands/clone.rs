//! `fruitctl clone`: the same job again.

use crate::app;
use crate::cli::{Cli, CloneArgs};
use crate::config::Config;
use crate::error::Result;
use crate::run::history::{self, Work};
use crate::stack::bucket;
use crate::ui;

/// Looks the run up, and runs its job.
pub fn run(cli: &Cli, args: &CloneArgs) -> Result<()> {
    let config = app::settings(cli, args)?;
    let entry = app::block_on(async |_| {
        let (aws, names) = app::connect(&config, app::Access::Reads).await?;
        history::find(Some(&args.run), &bucket::Spec::new(&names, &config.bucket).name, &aws).await
    })?;
    let Work { job, preprocessing, .. } = entry.work()?;
    ui::note(&format!("again: {}", job.args().join(" ")));
    app::cluster_run::cluster_run(&Config { job, preprocessing, ..config }, &args.cluster, args.json)
        .map(drop)
}
