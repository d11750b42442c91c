//! A lock as its holder sees it: renewed while he works, and proven before each change.
//!
//! A call ends after at most 60 seconds, and another waits for two minutes without a renewal before he takes over. So
//! what is begun in the first half of a lease is done before the lock can be another's, and later on it is renewed first.
//! The time counts while this machine sleeps, or the process was stopped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use super::store::Store;
use super::{Holder, LEASE, Name, lease, read, write};
use crate::aws::fence::{self, Fence};
use crate::aws::s3::Only;
use crate::cancel::Cancel;
use crate::clock;
use crate::error::{Error, Kind, Result};

/// How long a look is good for that has shown the lock to be ours: it can be taken away at any time (`fruitctl unlock`).
const FRESH: Duration = Duration::from_secs(1);

/// A lock that is held, by its holder.
pub(super) struct Lease<S> {
    store: S,
    name: Name,
    /// How we know our own.
    id: String,
    state: Mutex<State>,
    /// It goes away with its bucket, and is not renewed any more.
    is_retired: AtomicBool,
}

struct State {
    holder: Holder,
    etag: String,
    /// When the last renewal that worked was begun.
    renewed: Duration,
    /// When the last look was begun that has shown it to be ours.
    seen: Duration,
    lost: Option<Error>,
}

impl<S: Store> Lease<S> {
    /// A lock that was written with this ETag, in a write that was begun then.
    pub(super) fn new(
        store: &S,
        name: &Name,
        holder: Holder,
        etag: String,
        begun: Duration,
    ) -> Arc<Lease<S>> {
        let state = State { holder, etag, renewed: begun, seen: begun, lost: None };
        let id = state.holder.id.clone();
        Arc::new(Lease {
            store: store.clone(),
            name: name.clone(),
            id,
            state: Mutex::new(state),
            is_retired: false.into(),
        })
    }

    /// Renews it for ever, or until it is found to be lost: then `cancel` stops the work.
    pub(super) async fn keep(&self, cancel: &Cancel) {
        loop {
            self.store.sleep(lease() / 4).await;
            if self.is_retired.load(Ordering::SeqCst) {
                return;
            }
            match self.renew(&mut *self.state.lock().await).await {
                Ok(()) => {}
                Err(_) if self.is_retired.load(Ordering::SeqCst) => return,
                Err(error) if error.kind == Kind::Locked => return cancel.stop(error),
                Err(error) => {
                    info!(bucket = self.store.name(), lock = self.name.0, %error, "lock not renewed; it is tried again");
                }
            }
        }
    }

    async fn renew(&self, state: &mut State) -> Result<()> {
        if let Some(lost) = &state.lost {
            return Err(lost.clone());
        }
        let begun = self.store.now();
        state.holder.expires = clock::now() + LEASE;
        match write(&self.store, &self.name, &state.holder, Only::IfMatch(&state.etag)).await? {
            Some(etag) => state.etag = etag,
            // Perhaps our own renewal, whose answer got lost.
            None => self.look(state).await?,
        }
        debug!(bucket = self.store.name(), lock = self.name.0, "lock renewed");
        (state.renewed, state.seen) = (begun, begun);
        Ok(())
    }

    /// Sees whether it is still ours.
    async fn look(&self, state: &mut State) -> Result<()> {
        let begun = self.store.now();
        let by = match read(&self.store, &self.name).await? {
            Some((holder, etag)) if holder.id == self.id => {
                (state.etag, state.seen) = (etag, begun);
                return Ok(());
            }
            Some((holder, _)) if !holder.is_dead() => {
                format!("{} took it for 'fruitctl {}'", holder.owner, holder.doing)
            }
            // 'fruitctl unlock', --force-unlock, or the bucket is gone.
            _ => "it was taken away".to_owned(),
        };
        let bucket = self.store.name();
        warn!(bucket, lock = self.name.0, "lock lost");
        let lost = Error::new(
            Kind::Locked,
            format!("the lock of bucket {bucket} was lost: {by}, while this command slept or had no network, or by force; it stopped"),
        )
        .help("fruitctl status shows what there is; then the same command goes on from there");
        state.lost = Some(lost.clone());
        Err(lost)
    }

    /// Gives it back; where that fails, it expires.
    pub(super) async fn release(&self) {
        if self.is_retired.load(Ordering::SeqCst) {
            return;
        }
        let mut state = self.state.lock().await;
        // Not where another may take it while we delete it.
        if self.is_due(&state) && self.renew(&mut state).await.is_err()
            || self.look(&mut state).await.is_err()
        {
            return;
        }
        let released = self.store.delete(&self.name.0).await.is_ok();
        info!(bucket = self.store.name(), lock = self.name.0, released, "lock given back");
    }

    /// Whether a call that begins now could end when it is another's.
    fn is_due(&self, state: &State) -> bool {
        self.store.now() - state.renewed >= lease() / 2
    }

    async fn check(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        if let Some(lost) = &state.lost {
            return Err(lost.clone());
        }
        if self.is_due(&state) {
            return self.renew(&mut state).await;
        }
        if self.store.now() - state.seen < FRESH { Ok(()) } else { self.look(&mut state).await }
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl<S: Store> Fence for Lease<S> {
    fn prove(&self) -> Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        // Its own writes need no proof.
        Box::pin(fence::lifted(self.check()))
    }

    fn retire(&self) {
        self.is_retired.store(true, Ordering::SeqCst);
    }
}
