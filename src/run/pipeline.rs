//! A run on a cluster, from the check to the end: check -> prepare -> launch -> follow -> finish.

use std::future::Future;
use std::sync::Arc;
use std::sync::Once;

use fruitjob_interface::{EngineKind, RunRecord};

use super::engine::Choice;
use super::estimate::{Estimate, estimate};
use super::finish::{Ending, dollars, verdict};
use super::follow::transcript::Transcript;
use super::follow::{CostLimit, Ended, Watch};
use super::placement::{adopt_pending_request, choose_cluster, prepare_relaunch};
use super::preconditions::{check_cost_limit, check_granted, check_places, no_other_run};
use super::ship::{Shipped, check_address, find_executable, ship};
use super::summary::Summary;
use super::{Reporter, Request, collect, engine, fingerprint, history, settle, step};
use crate::aws::emr::{StepSpec, StepState};
use crate::aws::{Aws, fence};
use crate::cancel::Cancel;
use crate::config::Config;
use crate::cost::{Counting, PricedNodes, Prices};
use crate::error::{Error, Kind, Result};
use crate::stack::{self, Part, Plan, Relaunches, Spec, bucket, cluster, lock};
use crate::{clock, cost};

/// Seconds that a step is given to stop by itself after its time, before we stop it.
const GRACE: i64 = 1800;

/// Seconds for which the end of a run waits for whoever changes the project's resources, where it was told to stop.
const ENDING: f64 = 60.0;

/// A run on a cluster.
pub struct ClusterRun<'a> {
    /// The configuration; the job in `request` has precedence.
    pub config: &'a Config,
    /// What should exist in the account.
    pub spec: &'a Spec,
    /// What is asked for.
    pub request: &'a Request,
    pub aws: &'a Arc<Aws>,
    /// How to come by locks; its token stops the run.
    pub claim: &'a lock::Claim<'a>,
    /// Hears how it goes.
    pub reporter: &'a dyn Reporter,
}

/// What a run came to.
pub enum Outcome {
    /// Nothing had changed: the results of this run stand.
    Unchanged(Box<history::Entry>),
    /// This is what it would take; nothing was made.
    Estimated(Estimate),
    /// There are results.
    Finished(Box<Finished>),
}

/// A run with results.
pub struct Finished {
    /// What `run.json` says; none where the job was told of no output.
    pub record: Option<RunRecord>,
    /// Where the results are.
    pub output: String,
    /// Dollars that the instances cost, where all prices are known.
    pub dollars: Option<f64>,
    /// Dollars an hour, as planned, and the prices' date, in words.
    pub planned: String,
    /// What has become of the cluster, in a sentence.
    pub left: String,
}

/// All that a launch needs.
struct Prepared {
    /// The cluster that stands, if the run is to use it, and how its cost is counted.
    standing: Option<(String, Counting)>,
    shipped: Shipped,
    choice: Choice,
}

/// A run that has begun, or is about to: from here on there may be something that costs money.
struct Launch {
    entry: history::Entry,
    step: StepSpec,
    /// How the cost is counted of a cluster that was there.
    standing: Option<Counting>,
    /// vCPUs that work.
    vcpus: u32,
}

/// What is to be expected of a run.
struct Expected {
    choice: Choice,
    /// None, where the input cannot be listed from here.
    estimate: Option<Estimate>,
}

impl ClusterRun<'_> {
    /// Runs under the lock of its output. What it comes to know is noted in `summary`, however it ends.
    ///
    /// # Errors
    /// Whatever stage failed; with what is left behind.
    pub async fn run(&self, summary: &mut Summary) -> Result<Outcome> {
        let prices = cost::prices(self.config, self.spec.cluster.workforce.iter(), self.aws).await;
        check_cost_limit(self.request.max_cost, &self.spec.nodes(), &self.aws.region, &prices)?;
        check_address(&self.request.job)?;
        check_places(self.request, self.spec, &self.config.aws, self.aws).await?;
        if self.request.estimate {
            let expected = self.interruptible(self.expect(&prices)).await?;
            let estimate = expected.estimate.ok_or_else(|| {
                Error::usage("the input cannot be listed from here, and so nothing can be estimated")
                    .help("allow s3:ListBucket on it, or run it: fruitctl run")
            })?;
            return Ok(Outcome::Estimated(estimate));
        }
        check_granted(self.request, self.spec, self.config)?;
        find_executable(self.request.executable.as_deref(), &self.spec.cluster)?;
        // The lock lies in the bucket. Making it is the one thing that is done without: it can be done twice.
        if bucket::observe(&self.spec.names, &self.spec.bucket.name, self.aws).await?.is_none() {
            bucket::create(&self.spec.names, &self.spec.bucket, self.aws).await?;
        }
        let output = lock::Name::output(self.request.job.output.as_deref().unwrap_or_default());
        let mut request = self.request.clone();
        if let Some(pin) = &request.job.pin_pca {
            request.job.pin_pca = Some(history::pca(pin, &self.spec.bucket.name, self.aws).await?);
            check_granted(&request, self.spec, self.config)?;
        }
        let run = ClusterRun { request: &request, ..*self };
        self.claim.hold(&output, Box::pin(run.stages(&prices, summary))).await
    }

    async fn stages(&self, prices: &Prices, summary: &mut Summary) -> Result<Outcome> {
        let fingerprint = match self.interruptible(self.check()).await? {
            Check::Unchanged(last) => return Ok(Outcome::Unchanged(last)),
            Check::Go(fingerprint) => fingerprint,
        };
        let Expected { choice, .. } = self.interruptible(self.expect(prices)).await?;
        let prepared = self.prepare(choice, prices).await?;
        let mut launch = self.begin(prepared, fingerprint, &summary.started).await?;
        let transcript = Transcript::default();
        // Whatever happens from here on, the cluster is ended.
        let followed = self.launch_and_follow(&mut launch, prices, &transcript).await;
        self.reporter.clear();
        self.finish(launch, followed, &transcript, prices, summary).await
    }

    /// Work that a signal ends where it waits.
    async fn interruptible<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.claim.cancel.until(work).await
    }

    /// Whether there is anything to do, and nobody at it.
    async fn check(&self) -> Result<Check> {
        let output = self.request.job.output.as_deref().unwrap_or_default();
        let runs = settle::runs(&self.spec.names, &self.spec.bucket.name, Some(output), self.aws).await?;
        no_other_run(&runs, &self.spec.names, output, self.aws).await?;
        if !self.request.if_changed {
            return Ok(Check::Go(None));
        }
        let now = fingerprint::of_input(self.request, self.aws).await?;
        Ok(match fingerprint::unchanged(runs, self.spec, self.request, &now, self.aws).await? {
            Some(last) => Check::Unchanged(Box::new(last)),
            None => Check::Go(Some(now)),
        })
    }

    /// What runs the job; and says what that comes to.
    async fn expect(&self, prices: &Prices) -> Result<Expected> {
        let choice = engine::choose(self.spec, self.request, self.aws).await?;
        self.reporter.note(&format!("engine: {}", choice.why));
        let living = cluster::living(&self.spec.names, self.aws).await?;
        let standing = match living.into_iter().find(|c| !self.request.one_shot && cluster::is_standing(c)) {
            Some(found) => Some(self.aws.inspect_cluster(found).await?),
            None => None,
        };
        let standing = standing.as_ref().map(|found| &found.cluster);
        let estimate = estimate(self.spec, self.request, &choice, standing, prices, self.aws).await?;
        if let Some(estimate) = &estimate {
            self.reporter.note(&format!("estimate: {}", estimate.text()));
            if let Some(advice) = estimate.advice(self.request.job.input.as_deref().unwrap_or_default()) {
                self.reporter.note(&advice);
            }
        }
        Ok(Expected { choice, estimate })
    }

    /// Makes what a cluster needs, if something is missing, and, to be kept, a cluster; puts executable and model into
    /// the bucket.
    async fn prepare(&self, choice: Choice, prices: &Prices) -> Result<Prepared> {
        let work = async {
            let (plan, _, observed) = Plan::make(self.config, self.spec, self.aws).await?;
            let standing = observed.clusters.iter().find(|c| cluster::is_standing(c));
            let standing = match standing.filter(|_| !self.request.one_shot) {
                Some(found) => {
                    let nodes = PricedNodes::of(&found.cluster, !self.spec.network.is_private);
                    check_cost_limit(self.request.max_cost, &nodes, &self.aws.region, prices)?;
                    Some((found.id.clone(), nodes.counting(None)))
                }
                None => {
                    self.spec.may_launch()?;
                    None
                }
            };
            let part = if self.request.keep && standing.is_none() { Part::All } else { Part::ButCluster };
            let made = stack::apply(part, self.spec, &observed, &plan, self.aws, &|change, state| {
                self.reporter.change(change, state)
            })
            .await?;
            for note in &plan.notes {
                self.reporter.note(note);
            }
            Ok(standing.or(made.map(|id| (id, self.spec.nodes().counting(None)))))
        };
        // Not interruptible from outside: the lock is given back, and what was made is told.
        let standing = self.claim.hold_until_cancelled(&lock::Name::stack(), work).await?;
        self.reporter.state("shipping", "the executable and the model");
        let shipped = self.interruptible(ship(self.spec, self.request, self.aws)).await?;
        self.reporter.done("shipping");
        Ok(Prepared { standing, shipped, choice })
    }

    /// Writes the run's entry of the history, before there is anything to find by it.
    async fn begin(&self, prepared: Prepared, fingerprint: Option<String>, started: &str) -> Result<Launch> {
        let Prepared { standing, shipped, choice } = prepared;
        let (cluster, standing) = standing.unzip();
        let one_shot = cluster.is_none();
        let engine = if choice.spark.is_some() { EngineKind::Spark } else { EngineKind::Local };
        let work = step::work(self.request, &shipped, engine);
        let properties = choice.spark.unwrap_or_default();
        let step = step::spec(self.request, &shipped, &work, &properties, &self.aws.region, one_shot)?;
        let mut entry = history::Entry {
            id: self.request.id.clone(),
            state: history::State::Running,
            one_shot,
            cluster: cluster.unwrap_or_default(),
            input: self.request.job.input.clone().unwrap_or_default(),
            output: self.request.job.output.clone().unwrap_or_default(),
            owner: self.aws.caller.clone(),
            started: started.to_owned(),
            fingerprint,
            ..history::Entry::of(work)
        };
        // Where that may not be read from here, it is not compared.
        entry.before = collect::published(&entry.output, self.aws).await.unwrap_or_default();
        history::put(&entry, &self.spec.bucket.name, self.aws).await?;
        Ok(Launch { entry, step, standing, vcpus: choice.vcpus })
    }

    /// Puts the step on a cluster and watches it; on another, where that cluster ended before it began. It is stopped where
    /// it waits, and never under a lock, which has to be given back.
    async fn launch_and_follow(
        &self,
        launch: &mut Launch,
        prices: &Prices,
        transcript: &Transcript,
    ) -> Result<Ended> {
        let Launch { entry, step, standing, .. } = launch;
        let (mut spec, mut relaunches) = (self.spec.clone(), Relaunches::default());
        let bucket = &self.spec.bucket.name;
        // What --force-unlock was meant for is over.
        let claim = lock::Claim { force: false, ..*self.claim };
        loop {
            // Neither is a cluster ended that a step is just given to, nor are roles deleted under one that just begins.
            let choose = self.interruptible(choose_cluster(&spec, entry, step, self.aws, self.reporter));
            claim.hold(&lock::Name::stack(), choose).await?;
            let counting = self.counting(entry, *standing);
            let followed = self.follow(entry, counting, prices, transcript);
            let mut ended = self.interruptible(followed).await?;
            if !ended.went_down_with_cluster() {
                return Ok(ended);
            }
            // There are never two clusters; and why this one ends may not be told before its end.
            let gone = cluster::until_ended(&entry.cluster, self.aws, &|_| {});
            if let Some(cluster) = self.interruptible(gone).await? {
                ended.cluster = cluster;
            }
            if ended.step.started.is_some() {
                return Ok(ended);
            }
            let again = async { Ok(relaunches.again(&mut spec, &ended.cluster, self.aws).await) };
            let Some(again) = self.interruptible(again).await? else { return Ok(ended) };
            let ready = prepare_relaunch(again, &ended.cluster, entry, bucket, self.aws, self.reporter);
            self.interruptible(ready).await?;
            // Without --keep it is the run's own, so that it is found, and ended, wherever the run is stopped.
            entry.one_shot |= !self.request.keep;
            if !entry.one_shot {
                let wanted = spec.wanted_cluster();
                let stand = self.interruptible(cluster::stand(&wanted, self.aws));
                entry.cluster = claim.hold(&lock::Name::stack(), stand).await?;
            }
        }
    }

    /// How the cost of the run's clusters is counted, from its beginning: by what the one that was there has, or by what is
    /// configured.
    fn counting(&self, entry: &history::Entry, standing: Option<Counting>) -> Counting {
        let counting =
            standing.filter(|_| !entry.one_shot).unwrap_or_else(|| self.spec.nodes().counting(None));
        Counting { since: clock::parse(&entry.started), ..counting }
    }

    /// Watches the step until it has ended and all that it said is here.
    async fn follow(
        &self,
        entry: &history::Entry,
        counting: Counting,
        prices: &Prices,
        transcript: &Transcript,
    ) -> Result<Ended> {
        let started = Once::new();
        let watch = Watch {
            aws: self.aws,
            spec: self.spec,
            cluster: &entry.cluster,
            step: &entry.step,
            no_ssh: self.request.no_ssh,
            // The node stops by itself first; we only if it does not.
            deadline: clock::now() + (self.request.max_seconds as f64 * clock::pace()) as i64 + GRACE,
            limit: self.request.max_cost.map(|most| CostLimit {
                most,
                prices,
                counting: Counting { cautious: true, ..counting },
                earlier: &entry.failed_launches,
            }),
            state: &|cluster, step| {
                if step == StepState::Running {
                    started.call_once(|| {
                        self.reporter.clear();
                        self.reporter.done("the step runs");
                    })
                } else {
                    self.reporter.state(
                        &format!("cluster {}", entry.cluster),
                        &format!("{}, step {}", cluster.in_words(), step.in_words()),
                    )
                }
            },
            warn: &|text| self.reporter.warn(text),
        };
        watch.run(&|stream, line| transcript.hear(stream, line, self.reporter)).await
    }

    /// Ends what runs, checks and fetches the results, and writes down how it went.
    async fn finish(
        &self,
        launch: Launch,
        followed: Result<Ended>,
        transcript: &Transcript,
        prices: &Prices,
        summary: &mut Summary,
    ) -> Result<Outcome> {
        let Launch { mut entry, step, standing, vcpus } = launch;
        let was_interrupted = |error: &Error| matches!(error.kind, Kind::Interrupted(_));
        let lost = followed.as_ref().err().is_some_and(|error| error.kind == Kind::Locked);
        if lost || followed.as_ref().err().is_some_and(was_interrupted) {
            let cluster = if self.request.keep { "the cluster is kept" } else { "the cluster ends" };
            self.reporter.note(&format!("stopping: the step is cancelled, and {cluster}"));
            adopt_pending_request(self.spec, &mut entry, &step, self.aws).await?;
        }
        summary.cluster = Some(entry.cluster.clone()).filter(|id| !id.is_empty());
        let cancel = followed.is_err();
        let began = followed.as_ref().ok().and_then(|ended| ended.step.started);
        let result = match followed {
            Ok(ended) => verdict(self.spec, &ended, transcript.so_far(), self.aws).await,
            Err(error) => Err(error),
        };
        let ending = Ending {
            cluster: &entry.cluster,
            step: &entry.step,
            step_name: &step.name,
            cancel,
            // Without the lock, what others may use is theirs to end.
            keep: self.request.keep || lost && !entry.one_shot,
            shared: !entry.one_shot,
            hasty: lost || result.as_ref().err().is_some_and(was_interrupted),
        };
        // It may have been told to stop, and ends what costs money all the same.
        let (_canceller, patient) = Cancel::new();
        let wait_seconds =
            if ending.hasty { self.claim.wait_seconds.min(ENDING) } else { self.claim.wait_seconds };
        let claim = lock::Claim { force: false, wait_seconds, cancel: &patient, ..*self.claim };
        let left = ending.carry_out(&claim, self.aws, self.reporter).await;
        let results = match result {
            Ok(()) => self.results(&entry.output, entry.before.as_deref()).await,
            Err(error) => Err(error),
        };
        let dollars = dollars(&entry, &self.counting(&entry, standing), prices, self.aws).await;
        let published = results.as_ref().map(|results| results.published.as_ref());
        entry.measure(began, vcpus, published.ok().flatten().map(|published| &published.record));
        entry.end(published, dollars);
        summary.dollars = dollars;
        summary.run = published.ok().flatten().map(|published| published.record.clone());
        let lost = results.as_ref().err().is_some_and(|error| error.kind == Kind::Locked);
        let kept = fence::lifted(self.keep(&entry, lost)).await;
        let Results { published, missing } = match results {
            Ok(results) => results,
            Err(error) => return Err(error.leftover(left?)),
        };
        let left = left?;
        summary.left = Some(left.clone());
        if let Some(missing) = missing.or(kept.err()) {
            return Err(after_results(missing, &entry).leftover(left));
        }
        let planned = prices.cluster(&self.aws.region, &self.spec.nodes());
        let planned = format!("planned: {} an hour; prices of {}", planned.short(), planned.as_of);
        let record = published.map(|published| published.record);
        Ok(Outcome::Finished(Box::new(Finished { record, output: entry.output, dollars, planned, left })))
    }

    /// The results of a job that has succeeded, checked and the report fetched, as far as that goes. `before`: what was
    /// there when it began.
    ///
    /// # Errors
    /// [`Kind::Failed`], where there are none of this run's.
    async fn results(&self, output: &str, before: Option<&str>) -> Result<Results> {
        if self.request.job.output.is_none() {
            return Ok(Results { published: None, missing: None });
        }
        let published = match collect::check(output, self.aws).await {
            Ok(published) => published,
            Err(error) if error.kind == Kind::Failed => return Err(error),
            // That it cannot be looked at from here takes nothing away.
            Err(error) => return Ok(Results { published: None, missing: Some(error) }),
        };
        if before == Some(published.sha256.as_str()) {
            return Err(Error::new(
                Kind::Failed,
                format!("the step ended well and wrote no results: those in {output} are of an earlier run"),
            )
            .help("fruitctl logs says what it did; --executable has to be a fruitjob"));
        }
        let fetched = collect::fetch(&published, output, &self.request.download, false, self.aws).await;
        // What was read is ours if the lock still is: another may have had it, and written there, while we slept.
        if let Err(lost) = fence::prove().await
            && lost.kind == Kind::Locked
        {
            let message = format!(
                "the job has succeeded, and whose results are in {output} by now is not known: {}",
                lost.message
            );
            return Err(Error { message, ..lost });
        }
        Ok(Results { published: Some(published), missing: fetched.err() })
    }

    /// Writes down how the run ended. `lost`: whoever has the lock may have done so, and knows better.
    async fn keep(&self, entry: &history::Entry, lost: bool) -> Result<()> {
        let bucket = &self.spec.bucket.name;
        let written = if lost { history::find(Some(&entry.id), bucket, self.aws).await.ok() } else { None };
        match written {
            Some(written) if written.state != history::State::Running => Ok(()),
            _ => history::put(entry, bucket, self.aws).await,
        }
    }
}

/// What there is after a job that has succeeded.
struct Results {
    /// None, where they cannot be looked at from here.
    published: Option<collect::Published>,
    /// What did not work with them.
    missing: Option<Error>,
}

/// The job has succeeded, whatever else has not.
fn after_results(error: Error, entry: &history::Entry) -> Error {
    let (output, id) = (&entry.output, &entry.id);
    let message = format!("the job has succeeded, and its results are in {output}; but: {}", error.message);
    let help = error.help.map(|help| format!("{help}; then, ")).unwrap_or_default();
    Error::new(Kind::AfterResults, message)
        .help(format!("{help}without another run: fruitctl results --run {id} --download FOLDER"))
}

/// What the check came to.
enum Check {
    /// The results of this run stand.
    Unchanged(Box<history::Entry>),
    /// There is something to do; the input's fingerprint, where it was asked for.
    Go(Option<String>),
}
