//! What would make a run fail, found out before anything costs money.

use std::io::Write;
use std::path::Path;

use fruitjob_interface::error::explain_io;

use super::history::{Entry, State};
use super::request::Request;
use super::settle;
use crate::aws::s3_uri::S3Uri;
use crate::aws::{self, ApiError, Aws};
use crate::config::{AwsConfig, Config};
use crate::cost::{PricedNodes, Prices};
use crate::error::{Error, Kind, Result};
use crate::stack::{Names, Place, Spec, Use};

/// Fails if something of the request cannot work: the folder for the report, or the places of input and output. What
/// only the nodes' role may read is left to them.
///
/// # Errors
/// [`Kind::Usage`].
pub async fn check_places(request: &Request, spec: &Spec, config: &AwsConfig, aws: &Aws) -> Result<()> {
    check_folder(&request.download)?;
    for (name, place) in [("input", &request.job.input), ("output", &request.job.output)] {
        match place.as_deref().and_then(S3Uri::parse) {
            Some(place) if place.bucket != spec.bucket.name => check_place(name, &place, config, aws).await?,
            Some(place) if name == "input" => check_own_input(&place, aws).await?,
            _ => {}
        }
    }
    Ok(())
}

/// Fails if the nodes may not use a place that the job names: what their role is granted stands in fruitctl.toml, so that one
/// run takes nothing away from another.
///
/// # Errors
/// [`Kind::Usage`], with the line to add.
pub fn check_granted(request: &Request, spec: &Spec, config: &Config) -> Result<()> {
    // Who made the role himself knows what it may do.
    if spec.node_role.existing {
        return Ok(());
    }
    let job = &request.job;
    let granted: Vec<Place> = Place::all(config).into_iter().chain(Place::own(&spec.bucket.name)).collect();
    for (name, purpose, uri) in [
        ("input", Use::Read, &job.input),
        ("output", Use::Write, &job.output),
        ("model", Use::Model, &job.model),
        ("labels", Use::File, &job.labels),
        ("pin-pca", Use::Read, &job.pin_pca),
    ] {
        let wanted = Place::new(purpose, uri.as_deref());
        let Some(wanted) = wanted.filter(|wanted| !granted.iter().any(|place| place.covers(wanted))) else {
            continue;
        };
        let S3Uri { bucket, key } = &wanted.at;
        // Of a file, its folder.
        let is_file = matches!(purpose, Use::Model | Use::File);
        let folder = if is_file { key.rsplit_once('/').map_or("", |(folder, _)| folder) } else { key };
        let place = format!("s3://{bucket}/{folder}").trim_end_matches('/').to_owned();
        let (verb, key, listed) = match purpose {
            Use::Write => ("write to", "write", &config.places.write),
            _ => ("read", "read", &config.places.read),
        };
        let list: Vec<_> = listed.iter().chain([&place]).map(|uri| format!("{uri:?}")).collect();
        return Err(Error::usage(format!(
            "the nodes may not {verb} {} (--{name}): it is neither the project's own nor named in fruitctl.toml",
            uri.as_deref().unwrap_or_default()
        ))
        .help(format!("in fruitctl.toml, under [places]: {key} = [{}]; then the same command", list.join(", "))));
    }
    Ok(())
}

/// Whether something was uploaded to the project's bucket, which may not be there yet.
async fn check_own_input(place: &S3Uri, aws: &Aws) -> Result<()> {
    match aws.count_objects(&place.bucket, &place.prefix(), 1).await {
        Err(error) if error.code != "NoSuchBucket" => Ok(()),
        Ok(n) if n > 0 => Ok(()),
        _ => Err(Error::usage(format!(
            "there are no images below s3://{}/{}: nothing was uploaded yet",
            place.bucket, place.key
        ))
        .help("fruitctl upload FOLDER; or name images that are in S3: --input s3://BUCKET/KEY")),
    }
}

/// Whether a place in somebody else's bucket is there, where data may be, and, of an input, not empty.
async fn check_place(name: &str, place: &S3Uri, config: &AwsConfig, aws: &Aws) -> Result<()> {
    let bucket = &place.bucket;
    let check = format!("check {name} under [job], or --{name}");
    match aws.count_objects(bucket, &place.key, 1).await {
        Ok(0) if name == "input" => Err(Error::usage(format!(
            "the input s3://{bucket}/{} is empty: no key begins with it",
            place.key
        ))
        .help(format!("{check}; keys that there are: aws s3 ls s3://{bucket}/"))),
        Err(error) if error.code == "NoSuchBucket" => {
            Err(Error::usage(format!("the {name}'s bucket {bucket} is not there: there is no such bucket"))
                .help(check))
        }
        Err(ApiError { bucket_region: Some(region), .. }) if !aws::is_allowed(config, &region) => {
            Err(Error::usage(format!(
                "the {name}'s bucket {bucket} is in {region}, which is not among the allowed_regions of \
                 fruitctl.toml: {}; data may not leave them",
                config.allowed_regions.join(", ")
            ))
            .help(format!("{check}; or change allowed_regions under [aws]")))
        }
        _ => Ok(()),
    }
}

/// Bytes that have to fit where the report goes.
const REPORT_BYTES: usize = 4 << 20;

/// Whether the report can be written in a folder of this machine, which is made.
fn check_folder(folder: &Path) -> Result<()> {
    let write = || {
        std::fs::create_dir_all(folder)?;
        tempfile::NamedTempFile::new_in(folder)?.write_all(&vec![0; REPORT_BYTES])
    };
    write().map_err(|e| {
        Error::usage(format!("the report cannot be written to {}: {}", folder.display(), explain_io(&e)))
            .help("name another folder: --download FOLDER")
    })
}

/// Fails if a run may cost so much and no more, and a cluster has something without a price: it would count as nothing.
///
/// # Errors
/// [`Kind::Usage`], with what has no price.
pub fn check_cost_limit(
    max_cost: Option<f64>,
    nodes: &PricedNodes<'_>,
    region: &str,
    prices: &Prices,
) -> Result<()> {
    let estimate = prices.cluster(region, nodes);
    if max_cost.is_none() || estimate.unknown.is_empty() {
        return Ok(());
    }
    let (what, as_of) = (estimate.unknown.join(", "), &estimate.as_of);
    Err(Error::usage(format!(
        "--max-cost cannot be kept: there is no price of {what} in {region} among the prices of {as_of}"
    ))
    .help("set it under [prices] in fruitctl.toml (https://aws.amazon.com/emr/pricing/); or leave --max-cost out"))
}

/// Fails if a run whose command was killed goes on on its cluster: two over one output would mix.
///
/// # Errors
/// [`Kind::Locked`].
pub async fn no_other_run(runs: &[Entry], names: &Names, output: &str, aws: &Aws) -> Result<()> {
    for entry in runs {
        if !entry.shares_output(output) || !matches!(entry.state, State::Running | State::Unknown) {
            continue;
        }
        let step = settle::step_of(entry, names, aws).await?;
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
