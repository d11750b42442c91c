//! Collects what came out: checks it against `run.json`, and fetches the report.

use std::path::Path;

use fruitjob_interface::error::explain_io;
use fruitjob_interface::layout;
use fruitjob_interface::record::RunRecord;

use crate::aws::Aws;
use crate::aws::s3_uri::S3Uri;
use crate::error::{Error, Kind, Result};
use crate::hash::sha256;

/// Where a run's record is published.
const RECORD: &str = "run.json";

/// Reads `run.json`, holds the results against it, and downloads it with the report.
pub async fn collect(output: &str, to: &Path, aws: &Aws) -> Result<RunRecord> {
    let at = S3Uri::parse(output).ok_or_else(|| Error::usage(format!("{output} is not in S3")))?;
    let (bucket, prefix) = (&at.bucket, at.prefix());
    let key = |name: &str| format!("{prefix}{name}");
    let missing = |name: &str| {
        Error::new(Kind::Failed, format!("the results are incomplete: {output}/{name} is not there"))
            .help("the same command again: what was computed is kept")
    };
    let get = async |name: &str| -> Result<Vec<u8>> {
        aws.get_object(bucket, &key(name)).await?.map(|(body, _)| body).ok_or_else(|| missing(name))
    };
    get(layout::SUCCESS).await?;
    let text = get(RECORD).await?;
    let record: RunRecord = serde_json::from_slice(&text)
        .map_err(|e| Error::new(Kind::Failed, format!("{output}/{} cannot be read: {e}", RECORD)))?;
    let wrong = |what: String| {
        Error::new(Kind::Failed, format!("the results in {output} are not what run.json says: {what}"))
            .help("find out who else writes there, then the same command again")
    };
    let images = &record.images;
    if images.listed != images.results + images.rejected {
        return Err(wrong(format!(
            "{} images listed, {} results and {} rejects",
            images.listed, images.results, images.rejected
        )));
    }
    let rows: u64 = record.parts.iter().map(|part| part.rows).sum();
    if rows != images.results {
        return Err(wrong(format!("{rows} rows in the parts, {} results", images.results)));
    }
    let folder = format!("{}/", layout::RESULTS);
    let mut there: Vec<String> = aws
        .list_objects(bucket, &key(&folder))
        .await?
        .into_iter()
        .filter_map(|object| object.key.strip_prefix(&key(&folder)).map(str::to_owned))
        .filter(|name| name != "_SUCCESS")
        .collect();
    there.sort();
    let mut listed: Vec<&String> = record.parts.iter().map(|part| &part.name).collect();
    listed.sort();
    if there.iter().ne(listed) {
        return Err(wrong(format!("{} parts listed, {} there", record.parts.len(), there.len())));
    }
    for part in &record.parts {
        if sha256(&get(&format!("{folder}{}", part.name)).await?) != part.sha256 {
            return Err(wrong(format!("{} has another SHA-256", part.name)));
        }
    }
    std::fs::create_dir_all(to)
        .map_err(|e| Error::usage(format!("cannot make {}: {}", to.display(), explain_io(&e))))?;
    for (name, body) in [(RECORD, text), (layout::REPORT, get(layout::REPORT).await?)] {
        let file = to.join(name);
        std::fs::write(&file, body)
            .map_err(|e| Error::usage(format!("cannot write {}: {}", file.display(), explain_io(&e))))?;
    }
    Ok(record)
}
