//! The end of a run: why it failed if it did, its step and cluster ended, its results checked, what it has cost.

use super::follow::Ended;
use super::follow::transcript::StepOutput;
use super::{Reporter, history};
use crate::aws::emr::StepState;
use crate::aws::{Aws, fence};
use crate::cost::{Counting, Prices};
use crate::error::{Error, Kind, Result};
use crate::stack::{Spec, cluster, lock};
use crate::{explain, logs};

/// Whether the step worked; if not, why.
pub async fn verdict(spec: &Spec, ended: &Ended, said: StepOutput, aws: &Aws) -> Result<()> {
    if ended.step.state == StepState::Completed {
        return Ok(());
    }
    if !ended.step.state.has_ended() {
        return Err(explain::ended(&ended.cluster, aws).await);
    }
    let logs = logs::step_logs(&spec.bucket.name, &ended.cluster.id, &ended.step.id);
    let stderr: Vec<String> = said.stderr.into();
    Err(explain::step(&ended.step, &ended.cluster, said.failure, &stderr, &logs, aws).await)
}

/// How step and cluster are to be ended.
pub struct Ending<'a> {
    /// The cluster; empty if there is none.
    pub cluster: &'a str,
    /// The step; empty if it is not known.
    pub step: &'a str,
    /// Its name.
    pub step_name: &'a str,
    /// The step still runs, or may.
    pub cancel: bool,
    /// Leave the cluster.
    pub keep: bool,
    /// It was there before the run: steps on it may be somebody else's.
    pub shared: bool,
    /// Do not wait until the cluster has ended.
    pub hasty: bool,
}

impl Ending<'_> {
    /// Ends them; what is left, in a sentence. `claim`: how to come by the lock under which clusters are given steps.
    ///
    /// # Errors
    /// [`Kind::LeftBehind`], with the cluster that costs money.
    pub async fn carry_out(
        &self,
        claim: &lock::Claim<'_>,
        aws: &Aws,
        reporter: &dyn Reporter,
    ) -> Result<String> {
        let Ending { cluster: id, step, step_name, cancel, keep, shared, hasty } = *self;
        let left = |e: Error| {
            Error { kind: Kind::LeftBehind, ..e }
                .leftover(format!("cluster {id} in {}, which costs money every hour", aws.region))
                .help("fruitctl down")
        };
        if id.is_empty() {
            return Ok("no cluster was started".into());
        }
        if cancel && !step.is_empty() {
            // What cannot be cancelled ends with its cluster.
            let _ = fence::lifted(aws.cancel_step(id, step)).await;
        }
        if keep {
            return Ok(format!("cluster {id} is kept; fruitctl down ends it"));
        }
        let Some(found) = aws.describe_cluster(id).await.map_err(|e| left(e.into()))? else {
            return Ok(String::new());
        };
        let shared = shared && found.status.is_usable();
        let end = async {
            let others = if shared { cluster::steps_beside(id, step_name, aws).await? } else { Vec::new() };
            if others.is_empty() {
                cluster::terminate(&found, aws).await?;
            }
            Ok(others)
        };
        // What is the run's own ends without a lock. What others may use ends only where nobody gives it a step meanwhile.
        let ended =
            if shared { claim.hold(&lock::Name::stack(), end).await } else { fence::lifted(end).await };
        match ended {
            Err(lost) if shared && lost.kind == Kind::Locked => {
                return Ok(format!("cluster {id} is kept, for {}; fruitctl down ends it", lost.message));
            }
            Err(error) => return Err(left(error)),
            Ok(others) if !others.is_empty() => {
                let others = others.join(", ");
                return Ok(format!(
                    "cluster {id} is kept, for it has other steps ({others}); fruitctl down ends it"
                ));
            }
            Ok(_) => {}
        }
        if !hasty {
            let title = format!("cluster {id}");
            cluster::wait_ended(&[id.to_owned()], aws, &|_, state| reporter.state(&title, &state.in_words()))
                .await?;
            reporter.clear();
            reporter.done(&format!("{title} has ended"));
            return Ok(format!("cluster {id} has ended"));
        }
        Ok(format!("cluster {id} is ending"))
    }
}

/// What the instances of a run's clusters have cost since it began, where all of it is known.
pub async fn dollars(entry: &history::Entry, counting: &Counting, prices: &Prices, aws: &Aws) -> Option<f64> {
    let clusters: Vec<&str> = entry.clusters().collect();
    prices.of_clusters(&clusters, counting, aws).await.ok()?.known()
}
