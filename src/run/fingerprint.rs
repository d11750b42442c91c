//! Whether there is anything to do: what there is to read, as one number, held against that of the last run.
//!
//! The store is only listed, so a night without news costs a request per thousand images, and no cluster.

use fruitjob_interface::EngineKind;

use crate::aws::Aws;
use crate::aws::s3_uri::S3Uri;
use crate::error::Result;
use crate::stack::Spec;

use super::history::{Entry, State};
use super::{Request, collect, ship, step};

/// A hash of names, sizes and ETags of the images, and of model and table of labels where they lie in S3. Of those that
/// are shipped, the name tells the content.
pub async fn of_input(request: &Request, aws: &Aws) -> Result<String> {
    let input = request.job.input.as_deref().and_then(S3Uri::parse).unwrap_or_default();
    let output = request.job.output.as_deref().and_then(S3Uri::parse).unwrap_or_default();
    // Results may lie below the images: they are none.
    let but = Some(output.prefix()).filter(|but| output.bucket == input.bucket && !but.is_empty());
    let mut hash = aws.fingerprint(&input.bucket, &input.prefix(), but.as_deref()).await?;
    let others = [request.job.model.as_deref(), request.job.labels.as_deref()];
    for file in others.into_iter().flatten().filter_map(S3Uri::parse) {
        hash += &aws.fingerprint(&file.bucket, &file.key, None).await?;
    }
    Ok(hash)
}

/// The last run over this output, if its results are what this one would make.
pub async fn unchanged(
    runs: Vec<Entry>,
    spec: &Spec,
    request: &Request,
    now: &str,
    aws: &Aws,
) -> Result<Option<Entry>> {
    let last = runs.into_iter().find(|entry| Some(&entry.output) == request.job.output.as_ref());
    let Some(last) =
        last.filter(|last| last.state == State::Done && last.fingerprint.as_deref() == Some(now))
    else {
        return Ok(None);
    };
    let shipped = ship::ship(spec, request, aws).await?;
    let wanted = step::work(request, &shipped, EngineKind::Local);
    // What cannot be read is another job's.
    if !last.work().is_ok_and(|work| work.gives_the_same_as(&wanted)) {
        return Ok(None);
    }
    // Somebody else may have written there since.
    if last.results.is_some() && collect::published(&last.output, aws).await? != last.results {
        return Ok(None);
    }
    let output = S3Uri::parse(&last.output).unwrap_or_default();
    let success = format!("{}{}", output.prefix(), fruitjob_interface::layout::SUCCESS);
    Ok(aws.has_object(&output.bucket, &success).await?.then_some(last))
}
