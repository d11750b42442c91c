//! The end of a cluster: what still works on it, the request, and the wait.

use crate::aws::Aws;
use crate::aws::emr::{ClusterState, Existing, Setting};
use crate::error::{Error, Kind, Result};
use crate::wait;

/// Ids of a cluster's steps that have not ended, but for those of this name. They may be anybody's.
pub async fn steps_beside(id: &str, name: &str, aws: &Aws) -> Result<Vec<String>> {
    let steps = aws.steps(id).await?.into_iter();
    Ok(steps.filter(|step| !step.state.has_ended() && step.name != name).map(|step| step.id).collect())
}

/// Asks a cluster to end, protected or not.
pub async fn terminate(found: &Existing, aws: &Aws) -> Result<()> {
    if found.status.state == ClusterState::Terminating || !found.status.lives() {
        return Ok(());
    }
    let left = || format!("cluster {} in {}, which costs money every hour", found.id, aws.region);
    if found.cluster.protected || !found.knows(Setting::Protection) {
        // Only ever for a cluster with our tag, and because we were told to.
        aws.protect_cluster(&found.id, false).await.map_err(|e| Error::from(e).leftover(left()))?;
    }
    aws.terminate_cluster(&found.id).await.map_err(|e| Error::from(e).leftover(left()))
}

/// Waits until clusters have ended, half an hour at most each; `tick` hears their states.
pub async fn wait_ended(ids: &[String], aws: &Aws, tick: &(dyn Fn(&str, ClusterState) + Sync)) -> Result<()> {
    for id in ids {
        until_ended(id, aws, &|state| tick(id, state)).await?;
    }
    Ok(())
}

/// Waits until a cluster has ended, half an hour at most; what is then told of it, if it is still known.
pub async fn until_ended(
    id: &str,
    aws: &Aws,
    tick: &(dyn Fn(ClusterState) + Sync),
) -> Result<Option<Existing>> {
    let mut state = ClusterState::Unknown;
    let look = async || {
        let found = aws.describe_cluster(id).await?;
        let Some(living) = found.as_ref().filter(|c| c.status.lives()) else { return Ok(Some(found)) };
        state = living.status.state;
        tick(state);
        Ok(None)
    };
    let ended = wait::until(wait::Every::seconds(10.0, 1800.0), look).await?;
    ended.ok_or_else(|| {
        Error::new(Kind::LeftBehind, format!("cluster {id} is still {} after half an hour", state.name()))
            .leftover(format!("cluster {id} in {}", aws.region))
            .help("fruitctl down")
    })
}
