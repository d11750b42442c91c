//! What would make a run fail, found out before anything costs money.

use super::request::{Request, step_name};
use super::{history, step};
use crate::aws::Aws;
use crate::aws::s3_uri::S3Uri;
use crate::error::{Error, Kind, Result};
use crate::stack::{Names, Spec, cluster};

/// Fails if the input's bucket does not exist. If only the nodes' role may read it, the check is left to them.
///
/// # Errors
/// [`Kind::Usage`].
pub async fn look_for_input(request: &Request, spec: &Spec, aws: &Aws) -> Result<()> {
    let input = request.job.input.as_deref().and_then(S3Uri::parse);
    let Some(input) = input.filter(|input| input.bucket != spec.bucket.name) else {
        return Ok(());
    };
    match aws.count_objects(&input.bucket, &input.key, 1).await {
        Err(error) if error.code == "NoSuchBucket" => Err(Error::usage(format!(
            "the input's bucket {} is not there: there is no such bucket",
            input.bucket
        ))
        .help("check input under [job], or --input")),
        _ => Ok(()),
    }
}

/// Fails if a run whose command was killed goes on on its cluster: two over one output would mix.
///
/// # Errors
/// [`Kind::Locked`].
pub async fn no_other_run(names: &Names, bucket: &str, output: &str, aws: &Aws) -> Result<()> {
    for entry in history::all(bucket, aws).await? {
        if entry.output != output || !matches!(entry.state, history::State::Running | history::State::Unknown)
        {
            continue;
        }
        let step = if entry.step.is_empty() {
            // Killed before it knew its step, or before there was one.
            let mut found = None;
            for cluster in cluster::living(names, aws).await? {
                found = found.or(step::find(&cluster.id, &step_name(&entry.id), aws).await?);
            }
            found
        } else {
            aws.step(&entry.cluster, &entry.step).await?
        };
        if let Some(step) = step.filter(|step| !step.has_ended()) {
            return Err(Error::new(
                Kind::Locked,
                format!(
                    "run {} of {} is still at work on {}: step {}",
                    entry.id, entry.owner, entry.output, step.id
                ),
            )
            .help("wait for it (fruitctl status), or end it: fruitctl down"));
        }
    }
    Ok(())
}
