//! The runtime, and the signals that stop what runs on it.

use std::time::Duration;

use fruitjob_interface::error::explain_io;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::cancel::{Cancel, Canceller};
use crate::error::{Error, Kind, Result};
use crate::ui;

/// How long a command may take to clean up after a signal.
const CLEANING: Duration = Duration::from_secs(180);

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

/// Runs a command to its end, or until SIGINT, SIGTERM or SIGHUP; one of these that whoever started us has us ignore, as
/// nohup does SIGHUP, stays ignored. One that cleans up has three minutes for it; a second signal ends the process at once.
pub fn block_on<T>(command: impl AsyncFnOnce(&Cancel) -> Result<T>) -> Result<T> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let (canceller, cancel) = Cancel::new();
        let ignored = ignored();
        let (sender, received) = mpsc::unbounded_channel();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let number = kind.as_raw_value();
            if ignored & (1 << (number - 1)) == 0 {
                let signals = signal(kind).expect("signals can be listened to");
                tokio::spawn(pass_on(signals, number, sender.clone()));
            }
        }
        tokio::spawn(listen(received, canceller));
        let mut command = Box::pin(command(&cancel));
        let stopped = tokio::select! {
            result = &mut command => return result,
            stopped = cancel.cancelled() => stopped,
        };
        if !cancel.is_cleaned_up_after() {
            return Err(stopped);
        }
        tokio::time::timeout(CLEANING, command).await.unwrap_or(Err(stopped))
    });
    runtime.shutdown_background();
    result
}

/// The signals that are ignored since before we began, as bits. Listening to one would undo that.
/// Source: proc_pid_status(5), SigIgn. Elsewhere than on Linux, none.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

async fn pass_on(mut signals: Signal, number: i32, to: UnboundedSender<i32>) {
    while signals.recv().await.is_some() && to.send(number).is_ok() {}
}

/// Cancels at the first signal, ends the process at the second.
async fn listen(mut received: UnboundedReceiver<i32>, canceller: Canceller) {
    if let Some(number) = received.recv().await {
        canceller.cancel(number);
    }
    if let Some(number) = received.recv().await {
        let kind = Kind::Interrupted(number);
        let again = Error::new(kind, "interrupted again").leftover("whatever was being made or ended");
        ui::error(&again.help("fruitctl status, and: fruitctl down"));
        std::process::exit(kind.exit_code());
    }
}
