//! What commands have in common: settings, signals, the account, the lock, and the run that two of them start.

pub mod cluster_run;
#[cfg(feature = "local")]
pub mod local;
#[cfg(not(feature = "local"))]
#[path = "no_local.rs"]
pub mod local;
pub mod logging;
pub mod notify;
pub mod page;
pub mod serve;
mod settings;
mod signals;
mod write;

use std::sync::Arc;

pub use settings::settings;
pub use signals::{block_on, runtime};
pub use write::write;

use crate::aws::Aws;
use crate::aws::s3_uri::S3Uri;
use crate::cancel::Cancel;
use crate::cli::LockArgs;
use crate::config::{Config, Target};
use crate::error::{Error, Result};
use crate::stack::{Names, lock};
use crate::ui;

/// What a command does in an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It looks.
    Reads,
    /// It makes, changes or deletes something.
    Changes,
}

impl Access {
    /// A trial only looks.
    pub fn unless(dry_run: bool) -> Access {
        if dry_run { Access::Reads } else { Access::Changes }
    }
}

/// The account that the settings name, and the project's names in it.
pub async fn connect(config: &Config, access: Access) -> Result<(Arc<Aws>, Names)> {
    let aws = Arc::new(account(config, access).await?);
    let names = Names::new(config, &aws)?;
    Ok((aws, names))
}

/// The account that the settings name. Who changes something there is told as whom, and where two could be meant, asked.
pub async fn account(config: &Config, access: Access) -> Result<Aws> {
    let aws = Aws::connect(&config.aws).await?;
    if let Some(other) = &aws.other {
        match access {
            Access::Reads => ui::note(&format!("{}; those of {} are used", other.told(&aws), aws.source)),
            Access::Changes => {
                let profile = config.aws.profile.as_deref().unwrap_or_default();
                return Err(Error::usage(format!("{}; nothing was changed", other.told(&aws))).help(
                    format!("the same command with --profile environment, or with --profile {profile}"),
                ));
            }
        }
    }
    if access == Access::Changes {
        let Aws { caller, account, region, source, .. } = &aws;
        for (name, url) in &aws.endpoints {
            ui::note(&format!("warning: {name} is set: calls go to {url} in place of AWS"));
        }
        ui::note(&format!("as {caller} in account {account}, region {region}; credentials: {source}"));
    }
    Ok(aws)
}

/// Has the job's own code read and write S3 as this project does, where the project is AWS's and one of these places is there:
/// that code knows the environment alone, and no profile.
pub fn lend_credentials(config: &Config, places: &[Option<&str>]) -> Result<()> {
    let is_far = places.iter().flatten().any(|place| S3Uri::parse(place).is_some());
    if config.target != Some(Target::Emr) || !is_far {
        return Ok(());
    }
    block_on(async |_| {
        let aws = account(config, Access::Reads).await?;
        local::lend(aws.store_options().await?);
        Ok(())
    })
}

/// How a command comes by locks in a bucket.
pub fn claim<'a>(
    aws: &'a Arc<Aws>,
    bucket: &'a str,
    doing: &'a str,
    args: &LockArgs,
    cancel: &'a Cancel,
) -> lock::Claim<'a> {
    let wait_seconds = f64::from(args.lock_wait);
    lock::Claim { aws, bucket, doing, wait_seconds, force: args.force_unlock, cancel, note: &ui::note }
}
