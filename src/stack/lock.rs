//! One at a time: an object in the bucket, written on the condition that there is none (`If-None-Match: *`).
//!
//! A lock lives for two minutes and is renewed while its holder works. One whose holder is gone is taken over: at
//! once if it was a process of this machine that is not there any more, otherwise when it was not renewed for as long as
//! a lock lives while we watched it: clocks need not agree, ours alone has to run. Taking
//! over and renewing are conditional too (`If-Match`), so of two who try one wins. A store that ignores the condition
//! is found out by a second write that has to fail.

mod holder;
mod store;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Once};
use std::time::Duration;

use tracing::{debug, info, warn};

pub use holder::Holder;
use store::{Bucket, Store};

use super::resources::bucket::OWN;
use crate::aws::Aws;
use crate::aws::s3::Only;
use crate::cancel::Cancel;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::hash::sha256;

/// Seconds that a lock lives without being renewed.
const LEASE: i64 = 120;

/// A lock that is held, until [`Lock::release`]. Dropped without, it expires.
struct Lock<S> {
    store: S,
    name: Name,
    renewal: tokio::task::JoinHandle<()>,
    holder: Holder,
}

/// What a lock is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The project's resources.
    pub fn stack() -> Name {
        Name(format!("{OWN}lock"))
    }

    /// An output: two runs over one would mix.
    pub fn output(uri: &str) -> Name {
        Name(format!("{OWN}output-{}", &sha256(uri.trim_end_matches('/').as_bytes())[..16]))
    }
}

/// How one comes by locks in a bucket.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    pub aws: &'a Arc<Aws>,
    /// Where the locks lie.
    pub bucket: &'a str,
    /// What for: the command's name.
    pub doing: &'a str,
    /// Seconds to wait for another holder.
    pub wait_seconds: f64,
    /// Take the lock away from whoever holds it.
    pub force: bool,
    /// Tells the work under the lock to stop.
    pub cancel: &'a Cancel,
    /// Hears who is waited for.
    pub note: &'a (dyn Fn(&str) + Sync),
}

impl Claim<'_> {
    /// Does `work` under a lock, until it is cancelled.
    ///
    /// # Errors
    /// [`Kind::Locked`] if another has it for too long; the work's.
    pub async fn hold_until_cancelled<T>(
        &self,
        name: &Name,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let result = self.hold(name, self.cancel.until(work)).await;
        result.map_err(|error| match error.kind {
            Kind::Interrupted(_) => error
                .leftover("what was made so far")
                .help("the same command goes on from there; fruitctl down takes it away"),
            _ => error,
        })
    }

    /// Does `work` under a lock, which is given back however it ends. The work listens to the token itself.
    ///
    /// # Errors
    /// [`Kind::Locked`] if another has it for too long; the work's.
    pub async fn hold<T>(&self, name: &Name, work: impl Future<Output = Result<T>>) -> Result<T> {
        let store = Bucket { aws: self.aws.clone(), name: self.bucket.to_owned() };
        if self.force
            && let Some(holder) = force(&store, name).await?
        {
            (self.note)(&format!("took the lock away from {}", holder.owner));
        }
        let told = Once::new();
        let waiting = |holder: &Holder| {
            told.call_once(|| {
                (self.note)(&format!("waiting for {} ('fruitctl {}')", holder.owner, holder.doing))
            });
        };
        let take = take(&store, name, self.doing, self.wait_seconds, &waiting);
        let lock = self.cancel.until(take).await?;
        let finishing = self.cancel.ends_by_itself();
        let result = work.await;
        lock.release().await;
        drop(finishing);
        result
    }
}

/// Who holds it, if anybody.
pub async fn holder(aws: &Arc<Aws>, bucket: &str, name: &Name) -> Result<Option<Holder>> {
    let store = Bucket { aws: aws.clone(), name: bucket.to_owned() };
    Ok(read(&store, name).await?.map(|(holder, _)| holder).filter(|holder| !holder.is_dead()))
}

async fn read(store: &impl Store, name: &Name) -> Result<Option<(Holder, String)>> {
    let Some((body, etag)) = store.get(&name.0).await? else { return Ok(None) };
    Ok(Some((Holder::parse(&body), etag)))
}

/// Takes the lock, waiting at most `wait` seconds for whoever holds it; `waiting` hears who that is.
async fn take<S: Store>(
    store: &S,
    name: &Name,
    doing: &str,
    wait: f64,
    waiting: &(dyn Fn(&Holder) + Sync),
) -> Result<Lock<S>> {
    let bucket = store.name();
    let mut waited = 0.0;
    let mut watched: Option<(String, Duration)> = None;
    loop {
        let me = Holder::me(doing);
        let mut mine = write(store, name, &me, Only::IfAbsent).await?;
        let mut other = None;
        if mine.is_none() {
            match read(store, name).await? {
                // Our own write, whose answer got lost.
                Some((holder, etag)) if holder.id == me.id => mine = Some(etag),
                Some((holder, etag)) => {
                    if watched.as_ref().is_none_or(|(last, _)| *last != etag) {
                        watched = Some((etag.clone(), store.now()));
                    }
                    let since = watched.as_ref().map_or(store.now(), |(_, since)| *since);
                    let unrenewed = store.now() - since;
                    if holder.is_dead() || unrenewed.as_secs() >= LEASE as u64 {
                        mine = write(store, name, &me, Only::IfMatch(&etag)).await?;
                    } else {
                        other = Some(holder);
                    }
                }
                None => {}
            }
            if mine.is_none() && other.is_none() {
                // It changed hands while we looked.
                other = read(store, name).await?.map(|(holder, _)| holder);
                if other.as_ref().is_some_and(|holder| holder.id == me.id) {
                    let etag = read(store, name).await?.map(|(_, etag)| etag);
                    (mine, other) = (etag, None);
                }
            }
        }
        if let Some(etag) = mine {
            if write(store, name, &me, Only::IfAbsent).await?.is_some() {
                return Err(Error::new(
                    Kind::Refused,
                    format!("the store behind bucket {bucket} ignores If-None-Match: it cannot keep two fruitctl apart"),
                )
                .leftover(format!("s3://{bucket}/{}", name.0))
                .help("use Amazon S3, or a store with conditional writes"));
            }
            info!(bucket, lock = name.0, "lock taken");
            return Ok(hold(store, name, me, etag));
        }
        if let Some(holder) = other {
            if waited >= wait {
                return Err(Error::new(
                    Kind::Locked,
                    format!(
                        "{} holds the lock of bucket {bucket} for 'fruitctl {}' since {}; unless renewed, it expires at {}",
                        holder.owner,
                        holder.doing,
                        clock::rfc3339(holder.since),
                        clock::rfc3339(holder.expires)
                    ),
                )
                .help("wait and try again (--lock-wait SECONDS); if nobody is at work: fruitctl up --force-unlock"));
            }
            debug!(bucket, lock = name.0, holder = holder.owner, "lock is held by another");
            waiting(&holder);
        } else if waited >= wait.max(30.0) {
            return Err(Error::new(
                Kind::Locked,
                format!("the lock of bucket {bucket} changes hands too fast"),
            )
            .help("the same command again"));
        }
        let pause = 1.0 + fastrand::f64();
        store.sleep(clock::paced(pause)).await;
        waited += pause;
    }
}

async fn write(store: &impl Store, name: &Name, holder: &Holder, only: Only<'_>) -> Result<Option<String>> {
    let body = serde_json::to_vec_pretty(holder).expect("a holder is JSON");
    store.put(&name.0, &body, only).await
}

/// Renews it from now on.
fn hold<S: Store>(store: &S, name: &Name, holder: Holder, mut etag: String) -> Lock<S> {
    let (to, its, mut renewed) = (store.clone(), name.clone(), holder.clone());
    let renewal = tokio::spawn(async move {
        let bucket = to.name();
        loop {
            to.sleep(Duration::from_secs(LEASE as u64 / 4)).await;
            renewed.expires = clock::now() + LEASE;
            match write(&to, &its, &renewed, Only::IfMatch(&etag)).await {
                Ok(Some(new)) => {
                    debug!(bucket, lock = its.0, "lock renewed");
                    etag = new;
                }
                Ok(None) => match read(&to, &its).await {
                    // Our own renewal, whose answer got lost.
                    Ok(Some((holder, found))) if holder.id == renewed.id => etag = found,
                    // Taken from us (--force-unlock), or the bucket is gone: not ours to renew.
                    Ok(_) => {
                        warn!(bucket, lock = its.0, "lock lost");
                        return;
                    }
                    Err(error) => {
                        info!(bucket, lock = its.0, %error, "lock not read; it is tried again");
                    }
                },
                Err(error) => {
                    info!(bucket, lock = its.0, %error, "lock not renewed; it is tried again");
                }
            }
        }
    });
    Lock { store: store.clone(), name: name.clone(), renewal, holder }
}

impl<S: Store> Lock<S> {
    /// Gives it back; where that fails, it expires.
    async fn release(self) {
        self.renewal.abort();
        if let Ok(Some((holder, _))) = read(&self.store, &self.name).await
            && holder.id == self.holder.id
        {
            let released = self.store.delete(&self.name.0).await.is_ok();
            info!(bucket = self.store.name(), lock = self.name.0, released, "lock given back");
        }
    }
}

impl<S> Drop for Lock<S> {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Takes the lock away from whoever has it.
async fn force(store: &impl Store, name: &Name) -> Result<Option<Holder>> {
    let found = read(store, name).await?.map(|(holder, _)| holder);
    if found.is_some() {
        store.delete(&name.0).await?;
    }
    Ok(found)
}
