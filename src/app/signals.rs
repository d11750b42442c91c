//! The runtime, and the signals that stop what runs on it.

use std::time::Duration;

use fruitjob_interface::error::explain_io;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

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

/// Runs a command to its end, or until SIGINT, SIGTERM or SIGHUP. One that cleans up has three minutes for it; a second
/// signal ends the process at once.
pub fn block_on<T>(command: impl AsyncFnOnce(&Cancel) -> Result<T>) -> Result<T> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let (canceller, cancel) = Cancel::new();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals =
            kinds.map(|kind| (signal(kind).expect("signals can be listened to"), kind.as_raw_value()));
        tokio::spawn(listen(signals, canceller));
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

/// Cancels at the first signal, ends the process at the second.
async fn listen(signals: [(Signal, i32); 3], canceller: Canceller) {
    let [(mut interrupt, a), (mut terminate, b), (mut hangup, c)] = signals;
    loop {
        let number = tokio::select! {
            _ = interrupt.recv() => a,
            _ = terminate.recv() => b,
            _ = hangup.recv() => c,
        };
        if !canceller.cancel(number) {
            let kind = Kind::Interrupted(number);
            let again = Error::new(kind, "interrupted again").leftover("whatever was being made or ended");
            ui::error(&again.help("fruitctl status, and: fruitctl down"));
            std::process::exit(kind.exit_code());
        }
    }
}
