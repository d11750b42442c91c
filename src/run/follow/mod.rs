//! Watches a step: one loop asks EMR for the states of cluster and step; beside it, the step's stdout and stderr are
//! followed over SSH, and, where there is no SSH or no more, in the logs that EMR puts into the bucket. Every byte arrives
//! once: whoever takes over begins where the other has ended.

mod feed;
pub mod transcript;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::{debug, info};

pub use feed::Feed;
use feed::{Sink, Source};

use super::node;
use crate::aws::Aws;
use crate::aws::emr::{ClusterState, Existing, Step, StepState};
use crate::aws::s3_uri::S3Uri;
use crate::clock;
use crate::cost::{Counting, Prices, Spent};
use crate::error::{Error, Kind, Result};
use crate::logs::{self, Stream};
use crate::ssh::tail::{self, Control, Said};
use crate::ssh::{Target, Trouble};
use crate::stack::{FailedLaunch, Spec};

/// Seconds between two looks.
const POLL: f64 = 10.0;

/// Looks that may fail in a row.
const LOOKS: u32 = 20;

/// Seconds between two looks at a step that has ended: what is left to come is on its way.
const POLL_ENDED: f64 = 2.0;

/// Pieces of logs that wait to be heard: a tail is as fast as whoever hears it.
const PIECES: usize = 16;

/// Seconds for which a cluster may seem to live after a step that it takes down with it: EMR tells the two apart from
/// each other, and does not say in what order.
const CLUSTER_LATE: f64 = 30.0;

/// Seconds for which the last log may take to come to the bucket: EMR puts logs there every five minutes.
const LATE: f64 = 420.0;

/// What is watched.
pub struct Watch<'a> {
    pub aws: &'a Aws,
    /// What was wanted of the project.
    pub spec: &'a Spec,
    pub cluster: &'a str,
    pub step: &'a str,
    /// Do not try SSH.
    pub no_ssh: bool,
    /// Seconds since 1970 after which it is too late.
    pub deadline: i64,
    /// What it may cost.
    pub limit: Option<CostLimit<'a>>,
    /// Hears states.
    pub state: &'a (dyn Fn(ClusterState, StepState) + Sync),
    /// Hears what should be known.
    pub warn: &'a (dyn Fn(&str) + Sync),
}

/// What a run may cost.
pub struct CostLimit<'a> {
    /// Dollars at most.
    pub most: f64,
    pub prices: &'a Prices,
    /// What counts of the instances.
    pub counting: Counting,
    /// Its clusters that ended before they began.
    pub earlier: &'a [FailedLaunch],
}

pub struct Ended {
    /// It may not say that it has ended where its cluster has.
    pub step: Step,
    pub cluster: Existing,
}

impl Ended {
    /// Whether the cluster's end was the step's.
    pub fn went_down_with_cluster(&self) -> bool {
        let stopped = !self.step.has_ended() || stopped_from_outside(&self.step);
        stopped && !self.cluster.status.is_usable()
    }
}

impl Watch<'_> {
    /// Watches until the step or its cluster has ended and all that it said is here, or until it is over its time or its cost limit.
    pub async fn run(&self, sink: Sink<'_>) -> Result<Ended> {
        let (said, mut hears) = channel::<(usize, Said)>(PIECES);
        let mut feeds = [Feed::new(Stream::Out), Feed::new(Stream::Err)];
        let mut told = false;
        let mut waited = 0.0;
        let mut tried_ssh = self.no_ssh;
        let mut first = true;
        let result = loop {
            let (cluster, step) = match self.look().await {
                Ok(seen) => seen,
                Err(error) => break Err(error),
            };
            debug!(
                cluster = self.cluster,
                step = self.step,
                cluster_state = cluster.status.state.name(),
                step_state = step.state.name(),
                "look"
            );
            (self.state)(cluster.status.state, step.state);
            if let Err(error) = self.check_limits(&step).await {
                break Err(error);
            }
            let runs = step.started.is_some() && !step.has_ended() && cluster.status.is_usable();
            if !tried_ssh && runs && cluster.primary_dns.is_some() {
                tried_ssh = true;
                match self.target(&cluster).await {
                    Ok(target) => self.start_tails(&target, &mut feeds, &said),
                    Err(why) => self.hand_over(&mut feeds, &why, &mut told),
                }
            }
            if step.has_ended() || !cluster.status.is_usable() {
                bring_to_an_end(&mut feeds, cluster.status.is_usable());
            }
            // Between two looks, hear what the tails say; at the end, no longer than they have something to say. What has
            // ended before we came is in the bucket.
            let is_over = first && step.has_ended();
            if !is_over {
                self.hear(&mut feeds, &mut hears, sink, &mut told, &step).await;
            }
            first = false;
            for feed in feeds.iter_mut().filter(|feed| matches!(feed.source, Source::Bucket)) {
                self.fetch(feed, sink).await;
            }
            if step.has_ended() {
                waited += POLL_ENDED;
                if stopped_from_outside(&step) && cluster.status.is_usable() && waited <= CLUSTER_LATE {
                    continue;
                }
                // After the last event, and of a step that never began, there is nothing to wait for; else for what EMR
                // writes after the step's end.
                let silent = feeds[0].is_done() || step.started.is_none();
                let long_ago = step.ended.is_some_and(|at| clock::now() - at > 2 * LATE as i64);
                let complete = silent || waited > LATE || long_ago || self.logs_are_complete(&step).await;
                for feed in feeds.iter_mut().filter(|feed| complete && matches!(feed.source, Source::Bucket))
                {
                    self.fetch(feed, sink).await;
                    feed.finish(sink);
                }
                if feeds.iter().all(Feed::is_done) || waited > 2.0 * LATE || long_ago {
                    break Ok(Ended { step, cluster });
                }
            } else if !cluster.status.lives() {
                break Ok(Ended { step, cluster });
            }
        };
        for feed in &mut feeds {
            feed.finish(sink);
        }
        result
    }

    /// Whether the step may go on.
    ///
    /// # Errors
    /// [`Kind::TimedOut`] at its deadline, when it has cost what it may, and when that cannot be told for as long as a
    /// look may fail.
    async fn check_limits(&self, step: &Step) -> Result<()> {
        if step.has_ended() {
            return Ok(());
        }
        let too_long = |why: String| Err(Error::new(Kind::TimedOut, why));
        if clock::now() >= self.deadline {
            let state = step.state.name();
            return too_long(format!("step {} is still {state} at its deadline (--max-duration)", self.step));
        }
        let Some(limit) = &self.limit else { return Ok(()) };
        let spent = self.patiently(async || self.spent(limit).await).await?;
        let (dollars, most, as_of) = (spent.dollars, limit.most, limit.prices.as_of());
        if dollars >= most {
            let why = format!(
                "the run has cost ${dollars:.2} by prices of {as_of}, and may cost ${most:.2} (--max-cost)"
            );
            return too_long(why);
        }
        Ok(())
    }

    /// What the run has cost so far.
    ///
    /// # Errors
    /// Those of asking for instances; [`Kind::TimedOut`] where something has no price: unknown is not within a limit.
    async fn spent(&self, limit: &CostLimit<'_>) -> Result<Spent> {
        let earlier = limit.earlier.iter().map(|launch| launch.cluster.as_str());
        let clusters: Vec<&str> = earlier.chain([self.cluster]).collect();
        let sum = limit.prices.of_clusters(&clusters, &limit.counting, self.aws).await?;
        if sum.unknown.is_empty() {
            return Ok(sum);
        }
        let what = sum.unknown.join(", ");
        let why = format!("what the run has cost is not known, for there is no price of {what} (--max-cost)");
        Err(Error::new(Kind::TimedOut, why)
            .help("set it under [prices] in fruitctl.toml, or leave --max-cost out"))
    }

    /// Asks until there is an answer: a network that is away for a moment is no reason to stop watching.
    ///
    /// # Errors
    /// A refusal at once; all else when it has failed too often in a row.
    async fn patiently<T>(&self, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
        let mut failures = 0;
        loop {
            match ask().await {
                Err(error) if error.kind != Kind::Denied && failures < LOOKS => {
                    failures += 1;
                    info!(cluster = self.cluster, failures, %error, "look failed; it is tried again");
                    clock::sleep(POLL).await;
                }
                answer => return answer,
            }
        }
    }

    /// Cluster and step as they are.
    async fn look(&self) -> Result<(Existing, Step)> {
        let ask = async || {
            Ok(tokio::try_join!(
                self.aws.describe_cluster(self.cluster),
                self.aws.step(self.cluster, self.step)
            )?)
        };
        match self.patiently(ask).await? {
            (Some(cluster), Some(step)) => Ok((cluster, step)),
            _ => {
                let why = format!("cluster {} or its step {} is not known any more", self.cluster, self.step);
                Err(Error::new(Kind::Failed, why).help("fruitctl status"))
            }
        }
    }

    /// How to reach the node, with the host keys that it published.
    async fn target(&self, cluster: &Existing) -> Result<Target, String> {
        if self.spec.key_pair.as_ref().is_some_and(|ours| ours.name != cluster.cluster.key_pair) {
            return Err(format!(
                "the cluster's key pair, {}, is another machine's",
                cluster.cluster.key_pair
            ));
        }
        let host = cluster.primary_dns.as_deref().unwrap_or_default();
        if self.spec.network.is_private && !is_known(host).await {
            return Err(format!(
                "its subnet is private, and {host} is not known outside its VPC or a VPN into it"
            ));
        }
        node::target(self.cluster, host, self.spec, self.aws).await.map_err(|e| e.message)
    }

    fn start_tails(&self, target: &Target, feeds: &mut [Feed; 2], said: &Sender<(usize, Said)>) {
        for (index, feed) in feeds.iter_mut().enumerate() {
            let control = Arc::new(Control::default());
            feed.source = Source::Ssh(control.clone());
            let (target, path, offset, said) = (
                target.clone(),
                format!("{}/{}", logs::node_logs(self.step), feed.stream.file()),
                feed.offset,
                said.clone(),
            );
            tokio::task::spawn_blocking(move || {
                tail::follow(&target, &path, offset, &control, &|word| {
                    said.blocking_send((index, word)).is_ok()
                })
            });
        }
    }

    /// Hears tails for the time between two looks.
    async fn hear(
        &self,
        feeds: &mut [Feed; 2],
        hears: &mut Receiver<(usize, Said)>,
        sink: Sink<'_>,
        told: &mut bool,
        step: &Step,
    ) {
        let until =
            tokio::time::Instant::now() + clock::paced(if step.has_ended() { POLL_ENDED } else { POLL });
        // However much there is to hear, the next look is due.
        while tokio::time::Instant::now() < until {
            let Ok(Some((index, word))) = tokio::time::timeout_at(until, hears.recv()).await else { return };
            let feed = &mut feeds[index];
            if feed.is_done() {
                continue;
            }
            match word {
                Said::Bytes(bytes) => feed.take(&bytes, sink),
                Said::Done => feed.finish(sink),
                Said::Lost(trouble) => {
                    feed.source = Source::Bucket;
                    // At the end of a cluster, that is as it should be.
                    if !step.has_ended() && !*told {
                        self.say_handed_over(&trouble, told);
                    }
                }
            }
            if feeds.iter().all(Feed::is_done) {
                return;
            }
        }
    }

    fn say_handed_over(&self, trouble: &Trouble, told: &mut bool) {
        *told = true;
        let what = match trouble {
            Trouble::WrongHostKey(_) => {
                "somebody else may be answering in the node's place: check the network and the security group"
            }
            Trouble::Unreachable(_) => "port 22 is open to one address: see 'fruitctl plan'",
            Trouble::Refused(_) => "the key is not the cluster's",
            Trouble::Broken(_) => "the node may be gone",
        };
        (self.warn)(&format!(
            "no live logs over SSH: {trouble} ({what}); from here on they come from the bucket, every few minutes"
        ));
    }

    fn hand_over(&self, feeds: &mut [Feed; 2], why: &str, told: &mut bool) {
        for feed in feeds {
            feed.source = Source::Bucket;
        }
        if !*told {
            *told = true;
            (self.warn)(&format!(
                "no live logs over SSH: {why}; they come from the bucket, every few minutes"
            ));
        }
    }

    /// Takes from the log in the bucket what has not arrived yet.
    async fn fetch(&self, feed: &mut Feed, sink: Sink<'_>) {
        let step = (self.spec.bucket.name.as_str(), self.cluster, self.step);
        let (stream, offset, seen) = (feed.stream, feed.offset, feed.seen.take());
        let etag =
            logs::read(step, stream, offset, seen.as_deref(), self.aws, |new| feed.take(new, sink)).await;
        feed.seen = etag.or(seen);
    }

    /// Whether the logs in the bucket were written after the step had ended.
    async fn logs_are_complete(&self, step: &Step) -> bool {
        let place = logs::step_logs(&self.spec.bucket.name, self.cluster, self.step);
        let Some(at) = S3Uri::parse(&place) else { return false };
        let Ok(objects) = self.aws.list_objects(&at.bucket, &format!("{}/std", at.key)).await else {
            return false;
        };
        let ended = step.ended.unwrap_or(i64::MAX);
        objects.len() == 2 && objects.iter().all(|object| object.modified >= ended - 1)
    }
}

/// Whether somebody cancelled the step, or its cluster went down with it.
fn stopped_from_outside(step: &Step) -> bool {
    matches!(step.state, StepState::Cancelled | StepState::Interrupted)
}

/// Whether a host's name leads anywhere from here.
async fn is_known(host: &str) -> bool {
    let look = tokio::net::lookup_host((host, 0));
    matches!(tokio::time::timeout(clock::paced(5.0), look).await, Ok(Ok(_)))
}

/// The step or the node is at its end: tails take what is there yet, if the node is, and all else is in the bucket.
fn bring_to_an_end(feeds: &mut [Feed; 2], node_is_there: bool) {
    for feed in feeds {
        match &feed.source {
            Source::Ssh(control) if node_is_there => control.ending.store(true, Ordering::SeqCst),
            // The node goes away: what it still had is in the bucket, or soon will be.
            Source::Ssh(control) => control.stop.store(true, Ordering::SeqCst),
            Source::None => feed.source = Source::Bucket,
            Source::Bucket | Source::Done => {}
        }
    }
}
