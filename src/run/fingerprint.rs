//! Whether there is anything to do: what there is to read, as one number, held against that of the last run.
//!
//! The store is only listed, so a night without news costs a request per thousand images, and no cluster.

use crate::aws::Aws;
use crate::error::Result;
use crate::stack::Spec;
use crate::stack::roles::s3_place;

use super::history::{self, Entry};
use super::{Request, ship, submit};

/// A hash of names, sizes and ETags of the images, and of the model where it lies in S3.
pub async fn fingerprint(request: &Request, aws: &Aws) -> Result<String> {
    let input = request.job.input.as_deref().and_then(s3_place).unwrap_or_default();
    let output = request.job.output.as_deref().and_then(s3_place).unwrap_or_default();
    let below = |prefix: &str| if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    // Results may lie below the images: they are none.
    let but = Some(below(&output.1)).filter(|but| output.0 == input.0 && !but.is_empty());
    let mut hash = aws.fingerprint(&input.0, &below(&input.1), but.as_deref()).await?;
    if let Some((bucket, key)) = request.job.model.as_deref().and_then(s3_place) {
        hash += &aws.fingerprint(&bucket, &key, None).await?;
    }
    Ok(hash)
}

/// The last run over this output, if its results are what this one would make.
pub async fn since(spec: &Spec, request: &Request, now: &str, aws: &Aws) -> Result<Option<Entry>> {
    let runs = history::all(&spec.bucket.name, aws).await?;
    let last = runs.into_iter().find(|entry| Some(&entry.output) == request.job.output.as_ref());
    let Some(last) = last.filter(|last| last.state == "done" && last.fingerprint.as_deref() == Some(now))
    else {
        return Ok(None);
    };
    let shipped = ship::ship(spec, request, aws).await?;
    let step = submit::step(request, &shipped, None, &aws.region, true)?;
    if what_counts(&step.args) != what_counts(&last.args) {
        return Ok(None);
    }
    let (bucket, prefix) = s3_place(&last.output).unwrap_or_default();
    let success = format!("{prefix}/{}", fruitjob_interface::layout::SUCCESS);
    Ok(aws.has_object(&bucket, success.trim_start_matches('/')).await?.then_some(last))
}

/// The arguments of a step, but for those that change nothing about results: how long it may take, what runs it.
fn what_counts(args: &[String]) -> Vec<&String> {
    const ELSE: [&str; 3] = ["--engine=", "--threads=", "--spark-conf="];
    let mut args: Vec<&String> =
        args.iter().filter(|arg| !ELSE.iter().any(|flag| arg.starts_with(flag))).collect();
    if args.len() > submit::SECONDS {
        args.remove(submit::SECONDS);
    }
    args
}
