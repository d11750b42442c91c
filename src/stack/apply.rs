//! Carrying a plan out: first what has to go, then, side by side, what depends on nothing, then what depends on it.

use std::future::Future;

use super::change::{Action, Change, Resource};
use super::observed::Observed;
use super::plan::Plan;
use super::resources::{bootstrap, bucket, cluster, key_pair, network, roles, security_configuration};
use super::spec::Spec;
use crate::aws::Aws;
use crate::aws::emr::ClusterState;
use crate::error::{Error, Kind, Result};

/// Hears how it goes: a resource with the state it is in, `Ok` when done.
pub type Report<'a> = &'a (dyn Fn(&Change, Result<(), &str>) + Sync);

/// How much of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    All,
    /// What a cluster needs, and clusters as they are.
    ButCluster,
}

/// Makes it so; the id of the cluster, if that was part of it. Run again after a failure, it goes on from what is there.
pub async fn apply(
    part: Part,
    spec: &Spec,
    observed: &Observed,
    plan: &Plan,
    aws: &Aws,
    report: Report<'_>,
) -> Result<Option<String>> {
    let mut observed = observed.clone();
    if part == Part::All {
        end_old_clusters(plan, &mut observed, aws, report).await?;
    }

    let names = &spec.names;
    // Of resources that are made together, the first with something to do stands for all.
    let change = |resources: &[Resource]| {
        plan.changes.iter().find(|c| resources.contains(&c.resource) && c.action != Action::Keep)
    };
    // All of them to their end, even if one fails: what is done need not be done again.
    let (bucket, service_role, node_role, key_pair, network, security) = tokio::join!(
        told(change(&[Resource::Bucket, Resource::BootstrapAction]), report, async {
            bucket::apply(&spec.bucket, observed.bucket.as_ref(), aws).await?;
            bootstrap::apply(&spec.bootstrap, &observed.bootstrap, &spec.bucket.name, aws).await
        }),
        told(
            change(&[Resource::ServiceRole]),
            report,
            roles::apply(names, &spec.service_role, &observed.service_role, aws)
        ),
        told(
            change(&[Resource::NodeRole]),
            report,
            roles::apply(names, &spec.node_role, &observed.node_role, aws)
        ),
        told(
            change(&[Resource::KeyPair]),
            report,
            key_pair::apply(names, spec.key_pair.as_ref(), &observed.key_pairs, aws)
        ),
        told(
            change(&[Resource::PrimaryGroup, Resource::WorkerGroup, Resource::AccessGroup]),
            report,
            network::apply(names, &spec.network, &observed.groups, &observed.clusters, aws)
        ),
        told(
            change(&[Resource::SecurityConfiguration]),
            report,
            security_configuration::apply(&spec.security_configuration, observed.security_configuration, aws)
        ),
    );
    for result in [bucket, service_role, node_role, key_pair, network, security] {
        result.map_err(|e| {
            e.leftover("what else was planned is done, but for the cluster")
                .help("fix that, then: fruitctl up")
        })?;
    }
    if part == Part::ButCluster {
        return Ok(None);
    }
    let mut id = None;
    told(change(&[Resource::Cluster]), report, async {
        let (wanted, clusters) = (spec.wanted_cluster(), &observed.clusters);
        id = Some(cluster::apply(&wanted, clusters, &observed.groups, aws).await?);
        Ok(())
    })
    .await?;
    Ok(id)
}

/// Runs one part and reports its begin and end.
async fn told(
    change: Option<&Change>,
    report: Report<'_>,
    part: impl Future<Output = Result<()>>,
) -> Result<()> {
    let Some(change) = change else { return part.await };
    report(change, Err("..."));
    let result = part.await;
    if result.is_ok() {
        report(change, Ok(()));
    }
    result
}

/// Ends clusters that are to be replaced or are too many, and waits for it: groups cannot change under them. One that
/// is working is not ended.
async fn end_old_clusters(plan: &Plan, observed: &mut Observed, aws: &Aws, report: Report<'_>) -> Result<()> {
    let going = |id: &str| {
        plan.changes.iter().find(|c| {
            c.resource == Resource::Cluster
                && c.name == id
                && matches!(c.action, Action::Replace | Action::Delete)
        })
    };
    let old: Vec<_> = observed.clusters.iter().filter(|c| going(&c.id).is_some()).cloned().collect();
    for found in &old {
        // Of a cluster that is still starting, steps wait.
        let steps = cluster::steps_beside(&found.id, "", aws).await?;
        let is_running = found.status.state == ClusterState::Running;
        if is_running || !steps.is_empty() {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "cluster {} has to be replaced ({}), and it {} ({})",
                    found.id,
                    going(&found.id).map(|c| c.reasons.join("; ")).unwrap_or_default(),
                    if is_running { "is running a step" } else { "has a step to run" },
                    steps.join(", ")
                ),
            )
            .help("wait until the step has ended; or, to lose it: fruitctl down, then: fruitctl up"));
        }
    }
    for found in &old {
        if let Some(change) = going(&found.id) {
            report(change, Err("terminating"));
        }
        cluster::terminate(found, aws).await?;
    }
    let ids: Vec<_> = old.iter().map(|c| c.id.clone()).collect();
    cluster::wait_ended(&ids, aws, &|id, state| {
        if let Some(change) = going(id) {
            report(change, Err(&state.in_words()));
        }
    })
    .await?;
    observed.clusters.retain(|c| !ids.contains(&c.id));
    Ok(())
}
