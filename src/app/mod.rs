//! What all commands that talk to AWS have in common: configuration and flags, credentials, signals, the lock.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fruitjob_interface::error::explain_io;
use tokio::runtime::Runtime;
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
    Ok(with_flags(Config::load(cli.config.as_deref())?, args))
}

/// A configuration with flags over it.
pub fn with_flags(mut config: Config, args: &StackArgs) -> Config {
    config.aws.region = args.cloud.region.clone().or(config.aws.region);
    if let Some(cidr) = &args.ssh_cidr {
        config.network.ssh_cidr = cidr.clone();
    }
    config
}

/// From now on, a signal ends the process at once.
fn second_signal_exits(kind: Kind) {
    tokio::spawn(async move {
        interrupted().await;
        let again = Error::new(kind, "interrupted again").left("whatever was being made or ended");
        ui::error(&again.next("fruitctl status, and: fruitctl down"));
        std::process::exit(kind.exit_code());
    });
}

/// How many locks are held: then the work under them hears signals itself, and gives them back.
static HOLDS_LOCK: AtomicUsize = AtomicUsize::new(0);

/// What serves requests while a command waits for them. Whoever speaks TLS on it does so by ring.
pub fn runtime() -> Result<Runtime> {
    // An error says that the process has chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Error::new(Kind::Failed, format!("cannot start the runtime: {}", explain_io(&e))))
}

/// Runs a command to its end, or until a signal comes.
pub fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut command = Box::pin(command);
        let stopped = tokio::select! {
            result = &mut command => return result,
            stopped = interrupted() => stopped,
        };
        if HOLDS_LOCK.load(Ordering::SeqCst) == 0 {
            return Err(stopped);
        }
        second_signal_exits(stopped.kind);
        tokio::time::timeout(Duration::from_secs(180), command).await.unwrap_or(Err(stopped))
    });
    runtime.shutdown_background();
    result
}

/// Waits for a signal that asks us to stop.
pub async fn interrupted() -> Error {
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

/// Work until a signal comes.
pub async fn until_signal<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        result = work => result,
        stopped = interrupted() => Err(stopped),
    }
}

/// Does `work` under a lock in the bucket, until a signal comes.
pub async fn locked<T>(
    aws: &Arc<Aws>,
    bucket: &str,
    name: &lock::Name,
    doing: &str,
    args: &LockArgs,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let result = under_lock(aws, bucket, name, doing, args, until_signal(work)).await;
    result.map_err(|error| match error.kind {
        Kind::Interrupted(_) => error
            .left("what was made so far")
            .next("the same command goes on from there; fruitctl down takes it away"),
        _ => error,
    })
}

/// Does `work` under a lock in the bucket, which is given back however it ends. The work hears signals itself.
pub async fn under_lock<T>(
    aws: &Arc<Aws>,
    bucket: &str,
    name: &lock::Name,
    doing: &str,
    args: &LockArgs,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    if args.force_unlock
        && let Some(holder) = lock::force(aws, bucket, name).await?
    {
        ui::note(&format!("took the lock away from {}", holder.owner));
    }
    let told = std::sync::Once::new();
    let waiting = |holder: &lock::Holder| {
        told.call_once(|| ui::note(&format!("waiting for {} ('fruitctl {}')", holder.owner, holder.doing)));
    };
    let lock = lock::take(aws, bucket, name, doing, f64::from(args.lock_wait), &waiting).await?;
    HOLDS_LOCK.fetch_add(1, Ordering::SeqCst);
    let result = work.await;
    lock.release().await;
    HOLDS_LOCK.fetch_sub(1, Ordering::SeqCst);
    result
}

/// Configuration, account and names.
pub async fn connect(config: &Config) -> Result<(Arc<Aws>, Names)> {
    let aws = Arc::new(Aws::connect(&config.aws).await?);
    let names = Names::new(config, &aws)?;
    Ok((aws, names))
}
