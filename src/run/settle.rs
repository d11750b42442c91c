//! Runs whose command was killed: how they ended, by what EMR says of their steps and what lies in their outputs.

use std::sync::Arc;

use super::history::{self, Entry, State};
use super::request::step_name;
use super::{collect, step};
use crate::aws::Aws;
use crate::aws::emr::{Step, StepState};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::stack::{Names, cluster, lock};

/// The latest hundred runs, the latest first. Those whose command is gone are told as they ended. `ours`: an output whose
/// lock the caller holds; what is found of its runs is kept.
pub async fn runs(names: &Names, bucket: &str, ours: Option<&str>, aws: &Arc<Aws>) -> Result<Vec<Entry>> {
    let mut runs = history::all(bucket, aws).await?;
    for index in 0..runs.len() {
        let (later, rest) = runs.split_at_mut(index);
        let entry = &mut rest[0];
        if entry.state != State::Running {
            continue;
        }
        // Who has locked its output is at work.
        let output = lock::Name::output(&entry.output);
        let is_ours = ours.is_some_and(|ours| lock::Name::output(ours) == output);
        if !is_ours && lock::holder(aws, bucket, &output).await?.is_some() {
            continue;
        }
        let is_latest = later.iter().all(|run| !run.shares_output(&entry.output));
        if settle(entry, is_latest, names, aws).await? && is_ours {
            history::put(entry, bucket, aws).await?;
        }
    }
    Ok(runs)
}

/// Notes how a run ended; false where it still works, or that cannot be seen.
async fn settle(entry: &mut Entry, is_latest: bool, names: &Names, aws: &Aws) -> Result<bool> {
    let step = step_of(entry, names, aws).await?;
    let failed = |why: String| Error::new(Kind::Failed, format!("its command was killed, and {why}"));
    let result = match &step {
        Some(step) if !step.has_ended() => return Ok(false),
        Some(step) if step.state == StepState::Completed => match collect::look(&entry.output, aws).await {
            Ok(found) if Some(&found.sha256) == entry.before.as_ref() => {
                Err(failed("its step wrote no results".into()))
            }
            Ok(found) if is_latest => Ok(found),
            Ok(_) => Err(failed("a later run has replaced its results".into())),
            Err(error) if error.kind == Kind::Failed => Err(failed(error.message)),
            Err(_) => return Ok(false),
        },
        Some(step) => Err(failed(format!("its step {} is {}", step.id, step.state.in_words()))),
        None => Err(failed("it has no step that EMR knows".into())),
    };
    entry.end(result.as_ref().map(Some), None);
    if let Some(ended) = step.and_then(|step| step.ended) {
        entry.ended = Some(clock::rfc3339(ended));
    }
    Ok(true)
}

/// The step of a run, whose command may have been killed before it knew it.
pub async fn step_of(entry: &Entry, names: &Names, aws: &Aws) -> Result<Option<Step>> {
    if !entry.step.is_empty() {
        return Ok(aws.step(&entry.cluster, &entry.step).await?);
    }
    let mut clusters: Vec<String> =
        Some(entry.cluster.clone()).filter(|id| !id.is_empty()).into_iter().collect();
    clusters.extend(cluster::living(names, aws).await?.into_iter().map(|found| found.id));
    // A cluster of its own has ended with its step.
    clusters.extend(cluster::ended_of_run(names, &entry.id, clock::parse(&entry.started), aws).await?);
    for id in clusters {
        if let Some(step) = step::find(&id, &step_name(&entry.id), aws).await? {
            return Ok(Some(step));
        }
    }
    Ok(None)
}
