//! Which cluster a step goes to: the standing one, or one for the run alone; and finding what was asked for when the
//! answer was lost.

use super::{Reporter, history, step};
use crate::aws::Aws;
use crate::aws::emr::StepSpec;
use crate::error::{Error, Result};
use crate::stack::{Spec, cluster};
use crate::wait;

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
            None => entry.cluster.clear(),
        }
    }
    if entry.cluster.is_empty() {
        (entry.one_shot, step.is_last) = (true, true);
        reporter.state("a cluster", "is being asked for");
        entry.cluster = cluster::start(&spec.wanted_cluster(), Some((&entry.id, step.clone())), aws).await?;
        reporter.done("a cluster");
        entry.step = step::find(&entry.cluster, &step.name, aws).await?.map(|s| s.id).unwrap_or_default();
    }
    history::put(entry, &spec.bucket.name, aws).await
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
