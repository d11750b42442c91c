//! One at a time: an object in the bucket, written on the condition that there is none (`If-None-Match: *`).
//!
//! A lock lives for two minutes and is renewed while its holder works. One whose holder is gone is taken over: at
//! once if it was a process of this machine that is not there any more, otherwise when it was not renewed for as long as
//! a lock lives while we watched it: clocks need not agree, ours alone has to run. Taking
//! over and renewing are conditional too (`If-Match`), so of two who try one wins. A store that ignores the condition
//! is found out by a second write that has to fail.

use std::future::Future;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use super::resources::bucket::OWN;
use crate::aws::Aws;
use crate::aws::s3::Only;
use crate::cancel::Cancel;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::hash::sha256;

/// Seconds that a lock lives without being renewed.
const LEASE: i64 = 120;

/// Seconds by which two clocks may differ: S3 refuses whoever is more than a quarter of an hour off. A lock that has
/// expired for longer is nobody's, and need not be watched.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, RequestTimeTooSkewed.
const SKEW: i64 = 1800;

/// Whose a lock is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Drawn for each attempt: how one knows one's own.
    id: String,
    /// User, host and process, for people.
    pub owner: String,
    /// What they do: `up`, `down`.
    pub doing: String,
    /// Seconds since 1970.
    pub since: i64,
    /// After this, nobody holds it, by its holder's clock.
    pub expires: i64,
    /// The machine's run and its process names, where there are such things.
    machine: Option<String>,
    /// The process there, and when it was started.
    process: Option<(u32, String)>,
}

impl Holder {
    fn me(doing: &str) -> Holder {
        let var = |name| std::env::var(name).unwrap_or_default();
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_else(|_| var("HOSTNAME"));
        let (user, pid) = (var("USER"), std::process::id());
        Holder {
            id: format!("{:016x}", fastrand::u64(..)),
            owner: format!(
                "{}@{} (process {pid})",
                if user.is_empty() { "somebody" } else { &user },
                host.trim()
            ),
            doing: doing.to_owned(),
            since: clock::now(),
            expires: clock::now() + LEASE,
            machine: machine(),
            process: started(pid).map(|at| (pid, at)),
        }
    }

    /// What cannot be read was written by another version; it is waited for as long as a lock can live.
    fn parse(body: &[u8]) -> Holder {
        serde_json::from_slice(body).unwrap_or_else(|_| Holder {
            id: String::new(),
            owner: "another version of fruitctl".into(),
            doing: "something".into(),
            since: clock::now(),
            expires: clock::now() + LEASE,
            machine: None,
            process: None,
        })
    }

    /// Whether nobody stands behind it any more.
    fn is_dead(&self) -> bool {
        if self.expires.saturating_add(SKEW) <= clock::now() {
            return true;
        }
        match &self.process {
            Some((pid, at)) => {
                self.machine.is_some() && self.machine == machine() && started(*pid).as_ref() != Some(at)
            }
            None => false,
        }
    }
}

/// This boot of this machine, and this set of process numbers (a container has its own).
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let pids = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), pids.display()))
}

/// When a process was started, in ticks since boot: its number alone may be somebody else's by now.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, and may hold anything.
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" { None } else { fields.nth(18).map(str::to_owned) }
}

/// A lock that is held, until [`Lock::release`]. Dropped without, it expires.
pub struct Lock {
    aws: Arc<Aws>,
    bucket: String,
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
        if self.force
            && let Some(holder) = force(self.aws, self.bucket, name).await?
        {
            (self.note)(&format!("took the lock away from {}", holder.owner));
        }
        let told = Once::new();
        let waiting = |holder: &Holder| {
            told.call_once(|| {
                (self.note)(&format!("waiting for {} ('fruitctl {}')", holder.owner, holder.doing))
            });
        };
        let take = take(self.aws, self.bucket, name, self.doing, self.wait_seconds, &waiting);
        let lock = self.cancel.until(take).await?;
        let finishing = self.cancel.ends_by_itself();
        let result = work.await;
        lock.release().await;
        drop(finishing);
        result
    }
}

/// Who holds it, if anybody.
pub async fn holder(aws: &Aws, bucket: &str, name: &Name) -> Result<Option<Holder>> {
    Ok(read(aws, bucket, name).await?.map(|(holder, _)| holder).filter(|holder| !holder.is_dead()))
}

async fn read(aws: &Aws, bucket: &str, name: &Name) -> Result<Option<(Holder, String)>> {
    let Some((body, etag)) = aws.get_object(bucket, &name.0).await? else { return Ok(None) };
    Ok(Some((Holder::parse(&body), etag)))
}

/// Takes the lock, waiting at most `wait` seconds for whoever holds it; `waiting` hears who that is.
async fn take(
    aws: &Arc<Aws>,
    bucket: &str,
    name: &Name,
    doing: &str,
    wait: f64,
    waiting: &(dyn Fn(&Holder) + Sync),
) -> Result<Lock> {
    let mut waited = 0.0;
    let mut watched: Option<(String, Instant)> = None;
    loop {
        let me = Holder::me(doing);
        let mut mine = write(aws, bucket, name, &me, Only::IfAbsent).await?;
        let mut other = None;
        if mine.is_none() {
            match read(aws, bucket, name).await? {
                // Our own write, whose answer got lost.
                Some((holder, etag)) if holder.id == me.id => mine = Some(etag),
                Some((holder, etag)) => {
                    if watched.as_ref().is_none_or(|(last, _)| *last != etag) {
                        watched = Some((etag.clone(), Instant::now()));
                    }
                    let unrenewed = watched.as_ref().map_or(0, |(_, since)| since.elapsed().as_secs());
                    if holder.is_dead() || unrenewed >= LEASE as u64 {
                        mine = write(aws, bucket, name, &me, Only::IfMatch(&etag)).await?;
                    } else {
                        other = Some(holder);
                    }
                }
                None => {}
            }
            if mine.is_none() && other.is_none() {
                // It changed hands while we looked.
                other = read(aws, bucket, name).await?.map(|(holder, _)| holder);
                if other.as_ref().is_some_and(|holder| holder.id == me.id) {
                    let etag = read(aws, bucket, name).await?.map(|(_, etag)| etag);
                    (mine, other) = (etag, None);
                }
            }
        }
        if let Some(etag) = mine {
            if write(aws, bucket, name, &me, Only::IfAbsent).await?.is_some() {
                return Err(Error::new(
                    Kind::Refused,
                    format!("the store behind bucket {bucket} ignores If-None-Match: it cannot keep two fruitctl apart"),
                )
                .leftover(format!("s3://{bucket}/{}", name.0))
                .help("use Amazon S3, or a store with conditional writes"));
            }
            info!(bucket, lock = name.0, "lock taken");
            return Ok(hold(aws, bucket, name, me, etag));
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
        clock::sleep(pause).await;
        waited += pause;
    }
}

async fn write(
    aws: &Aws,
    bucket: &str,
    name: &Name,
    holder: &Holder,
    only: Only<'_>,
) -> Result<Option<String>> {
    let body = serde_json::to_vec_pretty(holder).expect("a holder is JSON");
    Ok(aws.put_object(bucket, &name.0, &body, only).await?)
}

/// Renews it from now on.
fn hold(aws: &Arc<Aws>, bucket: &str, name: &Name, holder: Holder, mut etag: String) -> Lock {
    let (task_aws, task_bucket, task_name, mut renewed) =
        (aws.clone(), bucket.to_owned(), name.clone(), holder.clone());
    let renewal = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(LEASE as u64 / 4)).await;
            renewed.expires = clock::now() + LEASE;
            match write(&task_aws, &task_bucket, &task_name, &renewed, Only::IfMatch(&etag)).await {
                Ok(Some(new)) => {
                    debug!(bucket = task_bucket, lock = task_name.0, "lock renewed");
                    etag = new;
                }
                // Taken from us (--force-unlock), or the bucket is gone: not ours to renew.
                Ok(None) => {
                    warn!(bucket = task_bucket, lock = task_name.0, "lock lost");
                    return;
                }
                Err(error) => {
                    info!(bucket = task_bucket, lock = task_name.0, %error, "lock not renewed; it is tried again");
                }
            }
        }
    });
    Lock { aws: aws.clone(), bucket: bucket.to_owned(), name: name.clone(), renewal, holder }
}

impl Lock {
    /// Gives it back; where that fails, it expires.
    pub async fn release(self) {
        self.renewal.abort();
        if let Ok(Some((holder, _))) = read(&self.aws, &self.bucket, &self.name).await
            && holder.id == self.holder.id
        {
            let released = self.aws.delete_object(&self.bucket, &self.name.0).await.is_ok();
            info!(bucket = self.bucket, lock = self.name.0, released, "lock given back");
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Takes the lock away from whoever has it.
async fn force(aws: &Aws, bucket: &str, name: &Name) -> Result<Option<Holder>> {
    let found = read(aws, bucket, name).await?.map(|(holder, _)| holder);
    if found.is_some() {
        aws.delete_object(bucket, &name.0).await?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_holder_lives_while_its_process_does() {
        let me = Holder::me("up");
        assert!(!me.is_dead());
        assert!(Holder { expires: clock::now() - SKEW - 1, ..me.clone() }.is_dead());
        // Perhaps its clock is behind ours.
        assert!(!Holder { expires: clock::now() - 1, ..me.clone() }.is_dead());
        let (pid, _) = me.process.clone().unwrap();
        // Another process of our number, or none.
        assert!(Holder { process: Some((pid, "1".into())), ..me.clone() }.is_dead());
        assert!(Holder { process: Some((u32::MAX, "1".into())), ..me.clone() }.is_dead());
        // Elsewhere, nothing can be said of a process.
        assert!(
            !Holder { machine: Some("another".into()), process: Some((pid, "1".into())), ..me }.is_dead()
        );
    }
    proptest! {
        /// Whatever lies there: somebody's, until the time is over for which a lock can live.
        #[test]
        fn a_damaged_lock_is_somebodys(body: Vec<u8>) {
            prop_assert!(!Holder::parse(&body).is_dead());
        }

        #[test]
        fn a_lock_of_elsewhere_is_dead_when_its_time_is_long_over(since: i64, expires: i64) {
            let body = json!({
                "id": "1", "owner": "ana@elsewhere", "doing": "up", "since": since, "expires": expires,
                "machine": "another", "process": [7, "1"],
            });
            let holder = Holder::parse(body.to_string().as_bytes());
            prop_assert_eq!(holder.expires, expires);
            prop_assert_eq!(holder.is_dead(), expires < clock::now() - SKEW);
        }
    }
}
