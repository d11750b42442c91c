//! The one token by which a command is told to stop: every wait can listen to it, and all hear the same signal.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::error::{Error, Kind, Result};

/// Tells whoever has the token to stop.
pub struct Canceller(Arc<watch::Sender<Option<Error>>>);

impl Canceller {
    /// Passes on a signal, by its number.
    pub fn cancel(&self, signal: i32) {
        stop(&self.0, Error::new(Kind::Interrupted(signal), "interrupted"));
    }
}

/// The first reason stands.
fn stop(reason: &watch::Sender<Option<Error>>, error: Error) {
    reason.send_if_modified(|state| {
        let first = state.is_none();
        state.get_or_insert(error);
        first
    });
}

/// Whether a command is to stop.
#[derive(Clone)]
pub struct Cancel {
    reason: Arc<watch::Sender<Option<Error>>>,
    finishing: Arc<AtomicUsize>,
}

/// While it lives, the command that has it ends by itself after a signal, and is not dropped where it waits.
pub struct EndsByItself(Arc<AtomicUsize>);

impl Drop for EndsByItself {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Cancel {
    /// A token, and what cancels it.
    pub fn new() -> (Canceller, Cancel) {
        let (reason, _) = watch::channel(None);
        let reason = Arc::new(reason);
        (Canceller(reason.clone()), Cancel { reason, finishing: Arc::default() })
    }

    /// Stops the command for a reason of its own.
    pub fn stop(&self, why: Error) {
        stop(&self.reason, why);
    }

    /// Waits until the command is to stop; why. Never, if nobody says so.
    pub async fn cancelled(&self) -> Error {
        let mut reason = self.reason.subscribe();
        let why = reason.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Does work until it is done, or until it is to stop: then the work is dropped where it waits.
    ///
    /// # Errors
    /// The work's; [`Kind::Interrupted`] after a signal, or why else it is to stop.
    pub async fn until<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            stopped = self.cancelled() => Err(stopped),
        }
    }

    /// From now on, until what is returned is dropped, the caller listens itself, and needs time to clean up.
    pub fn ends_by_itself(&self) -> EndsByItself {
        self.finishing.fetch_add(1, Ordering::SeqCst);
        EndsByItself(self.finishing.clone())
    }

    /// Whether somebody cleans up after a signal.
    pub fn is_cleaned_up_after(&self) -> bool {
        self.finishing.load(Ordering::SeqCst) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_ends_at_the_signal_and_ever_after() {
        let (canceller, cancel) = Cancel::new();
        assert_eq!(cancel.until(async { Ok(1) }).await, Ok(1));
        canceller.cancel(15);
        canceller.cancel(2);
        cancel.stop(Error::new(Kind::Locked, "lost"));
        for _ in 0..2 {
            let stopped = cancel.until(std::future::pending::<Result<()>>()).await.unwrap_err();
            assert_eq!(stopped.kind, Kind::Interrupted(15));
        }
    }

    #[tokio::test]
    async fn work_ends_for_a_reason_of_its_own() {
        let (canceller, cancel) = Cancel::new();
        drop(canceller);
        let lost = Error::new(Kind::Locked, "lost");
        let stop = cancel.clone();
        let why = lost.clone();
        let work = async move {
            stop.stop(why);
            std::future::pending::<Result<()>>().await
        };
        assert_eq!(cancel.until(work).await, Err(lost));
    }

    #[test]
    fn whoever_cleans_up_is_waited_for() {
        let (_canceller, cancel) = Cancel::new();
        let first = cancel.ends_by_itself();
        let second = cancel.ends_by_itself();
        drop(first);
        assert!(cancel.is_cleaned_up_after());
        drop(second);
        assert!(!cancel.is_cleaned_up_after());
    }
}
