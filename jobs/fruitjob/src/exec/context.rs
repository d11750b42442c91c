//! What a job needs of the process that it runs in: a runtime, somebody who hears its events, and a way to be stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use fruitjob_interface::Observer;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};

/// What a job needs of the process that it runs in.
#[derive(Clone)]
pub struct Context {
    /// Serves the object store; never blocked on from inside.
    pub runtime: Handle,
    /// Is told every event.
    pub observer: Arc<dyn Observer>,
    /// Number of the signal that asked us to stop, or 0.
    interrupted: Arc<AtomicI32>,
}

impl Context {
    /// A context that nothing interrupts.
    pub fn new(runtime: Handle, observer: Arc<dyn Observer>) -> Self {
        Context { runtime, observer, interrupted: Arc::default() }
    }

    /// Stops the job at the next image after SIGINT, SIGTERM or SIGHUP; a second one ends the process.
    pub fn stop_on_signals(&self) -> Result<()> {
        let _guard = self.runtime.enter();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals = signal(kind).map_err(|e| Error::io("cannot listen to signals", e))?;
            let interrupted = self.interrupted.clone();
            self.runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    if interrupted.swap(kind.as_raw_value(), Ordering::Relaxed) != 0 {
                        std::process::exit(128 + kind.as_raw_value());
                    }
                }
            });
        }
        Ok(())
    }

    /// # Errors
    /// [`Error::Interrupted`] after a signal.
    pub fn check(&self) -> Result<()> {
        match self.interrupted.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Error::Interrupted(signal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use fruitjob_interface::event::JsonLines;

    use super::*;

    #[test]
    fn after_a_signal_the_job_stops_and_says_by_which() {
        let runtime = crate::util::runtime().unwrap();
        let context = Context::new(runtime.handle().clone(), Arc::new(JsonLines));
        let elsewhere = context.clone();
        assert!(context.check().is_ok());
        context.interrupted.store(15, Ordering::Relaxed);
        for context in [context, elsewhere] {
            let stopped = context.check().unwrap_err();
            assert!(matches!(stopped, Error::Interrupted(15)), "{stopped:?}");
            assert_eq!(stopped.exit_code(), 143);
        }
    }
}
