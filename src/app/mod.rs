//! What commands have in common: settings, signals, the account, the lock, and the run that two of them start.

pub mod cluster_run;
#[cfg(feature = "local")]
pub mod local;
#[cfg(not(feature = "local"))]
#[path = "no_local.rs"]
pub mod local;
pub mod logging;
mod settings;
mod signals;
mod write;

use std::sync::Arc;

pub use settings::settings;
pub use signals::{block_on, runtime};
pub use write::write;

use crate::aws::Aws;
use crate::cancel::Cancel;
use crate::cli::LockArgs;
use crate::config::Config;
use crate::error::Result;
use crate::stack::{Names, lock};
use crate::ui;

/// The account that the settings name, and the project's names in it.
pub async fn connect(config: &Config) -> Result<(Arc<Aws>, Names)> {
    let aws = Arc::new(Aws::connect(&config.aws).await?);
    let names = Names::new(config, &aws)?;
    Ok((aws, names))
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
