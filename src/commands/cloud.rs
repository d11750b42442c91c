//! What all commands that talk to AWS have in common: configuration and flags, credentials, signals, the lock.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::aws::Aws;
use crate::cli::{Cli, CloudArgs, LockArgs, StackArgs};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::stack::{Names, lock};
use crate::ui;

/// The configuration, with the flags over it.
pub fn config(cli: &Cli, args: &CloudArgs) -> Result<Config> {
    let mut config = Config::load(cli.config.as_deref())?;
    if let Some(region) = &args.region {
        config.aws.region = Some(region.clone());
    }
    Ok(config)
}

/// The same, for commands that plan.
pub fn stack_config(cli: &Cli, args: &StackArgs) -> Result<Config> {
    let mut config = config(cli, &args.cloud)?;
    if let Some(cidr) = &args.ssh_cidr {
        config.network.ssh_cidr = cidr.clone();
    }
    Ok(config)
}

/// Whether a lock is held: then the work under it hears signals itself, and gives the lock back.
static HOLDS_LOCK: AtomicBool = AtomicBool::new(false);

/// Runs a command to its end, or until a signal comes.
pub fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = fruitjob::runtime()?;
    let result = runtime.block_on(async {
        let mut command = std::pin::pin!(command);
        let stopped = tokio::select! {
            result = &mut command => return result,
            stopped = interrupted() => stopped,
        };
        if !HOLDS_LOCK.load(Ordering::SeqCst) {
            return Err(stopped);
        }
        tokio::time::timeout(Duration::from_secs(10), command).await.unwrap_or(Err(stopped))
    });
    runtime.shutdown_background();
    result
}

/// Waits for a signal that asks us to stop.
async fn interrupted() -> Error {
    let mut kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(|kind| {
        let number = kind.as_raw_value();
        (signal(kind).expect("signals can be listened to"), number)
    });
    let [(int, a), (term, b), (hup, c)] = &mut kinds;
    let number = tokio::select! {
        _ = int.recv() => *a,
        _ = term.recv() => *b,
        _ = hup.recv() => *c,
    };
    Error::new(Kind::Interrupted(number), "interrupted")
}

/// Does `work` under the bucket's lock, which is given back however it ends.
pub async fn locked<T>(
    aws: &Arc<Aws>,
    bucket: &str,
    doing: &str,
    args: &LockArgs,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    if args.force_unlock
        && let Some(holder) = lock::force(aws, bucket).await?
    {
        ui::note(&format!("took the lock away from {}", holder.owner));
    }
    let told = std::sync::Once::new();
    let waiting = |holder: &lock::Holder| {
        told.call_once(|| ui::note(&format!("waiting for {} ('fruitctl {}')", holder.owner, holder.doing)));
    };
    let lock = lock::take(aws, bucket, doing, f64::from(args.lock_wait), &waiting).await?;
    HOLDS_LOCK.store(true, Ordering::SeqCst);
    let result = tokio::select! {
        result = work => result,
        stopped = interrupted() => Err(stopped),
    };
    lock.release().await;
    HOLDS_LOCK.store(false, Ordering::SeqCst);
    result.map_err(|error| match error.kind {
        Kind::Interrupted(_) => error
            .left("what was made so far")
            .next("the same command goes on from there; fruitctl down takes it away"),
        _ => error,
    })
}

/// Configuration, account and names.
pub async fn connect(config: &Config) -> Result<(Arc<Aws>, Names)> {
    let aws = Arc::new(Aws::connect(&config.aws).await?);
    let names = Names::new(config, &aws)?;
    Ok((aws, names))
}
