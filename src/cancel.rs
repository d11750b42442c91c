//! The one token by which a command is told to stop: every wait can listen to it, and all hear the same signal.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::error::{Error, Kind, Result};

/// Tells whoever has the token to stop.
pub struct Canceller(watch::Sender<Option<i32>>);

impl Canceller {
    /// Passes on a signal, by its number; false if there was one before.
    pub fn cancel(&self, signal: i32) -> bool {
        self.0.send_if_modified(|state| {
            let first = state.is_none();
            state.get_or_insert(signal);
            first
        })
    }
}

/// Whether a command is to stop.
#[derive(Clone)]
pub struct Cancel {
    signal: watch::Receiver<Option<i32>>,
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
        let (sender, signal) = watch::channel(None);
        (Canceller(sender), Cancel { signal, finishing: Arc::default() })
    }

    /// Waits for a signal. Never, where there is nobody any more to send one.
    pub async fn cancelled(&self) -> Error {
        let mut signal = self.signal.clone();
        let number = signal.wait_for(Option::is_some).await.ok().and_then(|number| *number);
        match number {
            Some(number) => Error::new(Kind::Interrupted(number), "interrupted"),
            None => std::future::pending().await,
        }
    }

    /// Does work until it is done, or until a signal comes: then the work is dropped where it waits.
    ///
    /// # Errors
    /// The work's; [`Kind::Interrupted`] after a signal.
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
        assert!(canceller.cancel(15) && !canceller.cancel(2));
        for _ in 0..2 {
            let stopped = cancel.until(std::future::pending::<Result<()>>()).await.unwrap_err();
            assert_eq!(stopped.kind, Kind::Interrupted(15));
        }
    }

    #[tokio::test]
    async fn without_anybody_to_cancel_it_work_goes_on() {
        let (canceller, cancel) = Cancel::new();
        drop(canceller);
        let slow = async {
            tokio::task::yield_now().await;
            Ok(7)
        };
        assert_eq!(cancel.until(slow).await, Ok(7));
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
