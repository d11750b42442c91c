//! One at a time: an object in the bucket, written on the condition that there is none (`If-None-Match: *`).
//!
//! A lock lives for two minutes and is renewed while its holder works, who proves before each change that it is still his
//! (`lease`). One whose holder is gone is taken over: at
//! once if it was a process of this machine that is not there any more, otherwise when it was not renewed for as long as
//! a lock lives while we watched it: clocks need not agree, ours alone has to run. Taking
//! over and renewing are conditional too (`If-Match`), so of two who try one wins. A store that ignores the condition
//! is found out by a second write that has to fail.

mod holder;
mod lease;
mod store;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Once};
use std::time::Duration;

use tracing::{debug, info};

pub use holder::Holder;
use lease::Lease;
use store::{Bucket, Store};

use super::resources::bucket::OWN;
use crate::aws::s3::Only;
use crate::aws::{Aws, fence};
use crate::cancel::Cancel;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::hash::sha256;

/// Seconds that a lock lives without being renewed.
const LEASE: i64 = 120;

/// The same, at the pace of tests.
fn lease() -> Duration {
    Duration::from_secs(LEASE as u64).mul_f64(clock::lease_pace())
}

/// What a lock is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The project's resources.
    pub fn stack() -> Name {
        Name(format!("{OWN}lock"))
    }

    /// That of an object's key, if it is a lock's.
    fn of_key(key: String) -> Option<Name> {
        let rest = key.strip_prefix(OWN)?;
        (rest == "lock" || rest.starts_with("output-")).then_some(Name(key))
    }

    /// The key of its object.
    pub fn key(&self) -> &str {
        &self.0
    }

    /// What it keeps apart, in words.
    pub fn in_words(&self) -> &'static str {
        if self == &Name::stack() { "the project's resources" } else { "an output" }
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
        // Who only waited for the lock has made nothing.
        let work = async {
            self.cancel.until(work).await.map_err(|error| match error.kind {
                Kind::Interrupted(_) | Kind::Locked => error
                    .leftover("what was made so far")
                    .help("the same command goes on from there; fruitctl down takes it away"),
                _ => error,
            })
        };
        self.hold(name, work).await
    }

    /// Does `work` under a lock, which is given back however it ends. The work listens to the token itself.
    ///
    /// # Errors
    /// [`Kind::Locked`] if another has it for too long, or takes it away; the work's.
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
        let lease = self.cancel.until(take).await?;
        let renewal = Renewal::of(&lease, self.cancel);
        let finishing = self.cancel.ends_by_itself();
        let result = fence::under(lease.clone(), work).await;
        drop(renewal);
        lease.release().await;
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
) -> Result<Arc<Lease<S>>> {
    let bucket = store.name();
    let mut waited = 0.0;
    let mut watched: Option<(String, Duration)> = None;
    loop {
        let (me, begun) = (Holder::me(doing), store.now());
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
                    if holder.is_dead() || unrenewed >= lease() {
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
                return Err(careless(bucket, name));
            }
            info!(bucket, lock = name.0, "lock taken");
            return Ok(Lease::new(store, name, me, etag, begun));
        }
        if let Some(holder) = other {
            if waited >= wait {
                return Err(held_by(&holder, bucket));
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

/// Another has the lock.
fn held_by(holder: &Holder, bucket: &str) -> Error {
    let (since, expires) = (clock::rfc3339(holder.since), clock::rfc3339(holder.expires));
    let Holder { owner, doing, .. } = holder;
    let free = match holder.id.as_str() {
        "" => "it is free two minutes after its last renewal".to_owned(),
        id => format!("if nobody is at work: fruitctl unlock {id}"),
    };
    Error::new(
        Kind::Locked,
        format!("{owner} holds the lock of bucket {bucket} for 'fruitctl {doing}' since {since}; unless renewed, it expires at {expires}"),
    )
    .help(format!("wait and try again (--lock-wait SECONDS); {free}"))
}

/// The store has taken a second lock beside the first.
fn careless(bucket: &str, name: &Name) -> Error {
    Error::new(
        Kind::Refused,
        format!("the store behind bucket {bucket} ignores If-None-Match: it cannot keep two fruitctl apart"),
    )
    .leftover(format!("s3://{bucket}/{}", name.0))
    .help("use Amazon S3, or a store with conditional writes")
}

async fn write(store: &impl Store, name: &Name, holder: &Holder, only: Only<'_>) -> Result<Option<String>> {
    let body = serde_json::to_vec_pretty(holder).expect("a holder is JSON");
    store.put(&name.0, &body, only).await
}

/// Renews a lock while it lives.
struct Renewal(tokio::task::JoinHandle<()>);

impl Renewal {
    fn of<S: Store>(lease: &Arc<Lease<S>>, cancel: &Cancel) -> Renewal {
        let (lease, cancel) = (lease.clone(), cancel.clone());
        Renewal(tokio::spawn(async move { lease.keep(&cancel).await }))
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes the lock away from whoever has it; who that was. What is left in its place is nobody's: deleting it would
/// take it away from whoever comes next, too.
async fn force(store: &impl Store, name: &Name) -> Result<Option<Holder>> {
    let Some((holder, etag)) = read(store, name).await?.filter(|(holder, _)| !holder.is_dead()) else {
        return Ok(None);
    };
    let nobody = Holder::nobody(&holder);
    Ok(write(store, name, &nobody, Only::IfMatch(&etag)).await?.map(|_| holder))
}

/// The locks of a bucket that somebody holds.
pub async fn held(aws: &Arc<Aws>, bucket: &str) -> Result<Vec<(Name, Holder)>> {
    let store = Bucket { aws: aws.clone(), name: bucket.to_owned() };
    let mut held = Vec::new();
    for name in store.names().await? {
        let found = read(&store, &name).await?;
        held.extend(found.filter(|(holder, _)| !holder.is_dead()).map(|(holder, _)| (name, holder)));
    }
    Ok(held)
}

/// Takes a lock away from this holder; whether he had it until now.
pub async fn free(aws: &Arc<Aws>, bucket: &str, name: &Name, id: &str) -> Result<bool> {
    let store = Bucket { aws: aws.clone(), name: bucket.to_owned() };
    let is_his = read(&store, name).await?.is_some_and(|(holder, _)| holder.id == id);
    Ok(is_his && force(&store, name).await?.is_some_and(|holder| holder.id == id))
}
