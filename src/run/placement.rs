//! Which cluster a step goes to: the standing one, or one for the run alone; another, where that one ended before it
//! began; and finding what was asked for when the answer was lost.

use super::{Reporter, history, step};
use crate::aws::Aws;
use crate::aws::emr::{Existing, StepSpec};
use crate::error::{Error, Result};
use crate::stack::{Again, FailedLaunch, Spec, cluster};
use crate::{clock, wait};

/// Puts the step on the cluster that is there; or, where there is none or it is just ending, on one for this run alone.
pub async fn choose_cluster(
    spec: &Spec,
    entry: &mut history::Entry,
    step: &mut StepSpec,
    aws: &Aws,
    reporter: &dyn Reporter,
) -> Result<()> {
    if !entry.cluster.is_empty() {
        match step::add(&entry.cluster, step, aws).await? {
            Some(id) => entry.step = id,
            None => (entry.cluster, entry.one_shot) = (String::new(), true),
        }
    }
    if entry.cluster.is_empty() {
        spec.may_launch()?;
        step.is_last = true;
        reporter.state("a cluster", "is being asked for");
        entry.cluster = cluster::start(&spec.wanted_cluster(), Some((&entry.id, step.clone())), aws).await?;
        reporter.done("a cluster");
        entry.step = step::find(&entry.cluster, &step.name, aws).await?.map(|s| s.id).unwrap_or_default();
    }
    history::put(entry, &spec.bucket.name, aws).await
}

/// After a cluster ended before it began, and another is worth while: writes that down, and waits as long as it takes.
pub async fn prepare_relaunch(
    again: Again,
    ended: &Existing,
    entry: &mut history::Entry,
    bucket: &str,
    aws: &Aws,
    reporter: &dyn Reporter,
) -> Result<()> {
    let (id, why) = (&ended.id, &again.why);
    reporter.clear();
    reporter.warn(&format!("cluster {id} ended before it began: {why}; another is asked for"));
    entry.cluster.clear();
    entry.step.clear();
    entry.failed_launches.push(FailedLaunch { cluster: id.clone(), why: ended.status.message.clone() });
    history::put(entry, bucket, aws).await?;
    clock::sleep(again.seconds).await;
    Ok(())
}

/// Stopped while a cluster or a step was being asked for, it may be there all the same: AWS takes a call whose caller
/// went away, and lists lag behind.
pub async fn adopt_pending_request(
    spec: &Spec,
    entry: &mut history::Entry,
    step: &StepSpec,
    aws: &Aws,
) -> Result<()> {
    let unknown = |e: Error| {
        e.leftover(format!("perhaps a cluster of run {} in {}", entry.id, aws.region)).help("fruitctl down")
    };
    let look = async || cluster::of_run(&spec.names, &entry.id, aws).await.map_err(unknown);
    let mut cluster = entry.cluster.clone();
    if cluster.is_empty() {
        let every = wait::Every { first: 0.0, then: 5.0, looks: 3 };
        cluster = wait::until(every, look).await?.unwrap_or_default();
    }
    if !cluster.is_empty() && entry.step.is_empty() {
        // Without its step, a cluster can still be ended.
        let found = step::find(&cluster, &step.name, aws).await.ok().flatten();
        entry.step = found.map(|step| step.id).unwrap_or_default();
    }
    entry.cluster = cluster;
    Ok(())
}
