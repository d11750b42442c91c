//! Collects what came out: checks it against `run.json`, and fetches the report.

use std::path::Path;

use fruitjob_interface::error::explain_io;
use fruitjob_interface::layout;
use fruitjob_interface::record::RunRecord;

use crate::aws::Aws;
use crate::aws::s3_uri::S3Uri;
use crate::error::{Error, Kind, Result};
use crate::hash::sha256;

/// Published results, as `run.json` says them.
pub struct Published {
    pub record: RunRecord,
    /// SHA-256 of `run.json`: no two runs write the same.
    pub sha256: String,
    text: Vec<u8>,
}

/// The SHA-256 of the `run.json` that is published; none, where there are no results.
pub async fn published(output: &str, aws: &Aws) -> Result<Option<String>> {
    let Some(at) = S3Uri::parse(output) else { return Ok(None) };
    let found = aws.get_object(&at.bucket, &format!("{}{}", at.prefix(), layout::PUBLISHED_RECORD)).await?;
    Ok(found.map(|(text, _)| sha256(&text)))
}

/// Reads `run.json`, and holds the results against it, byte by byte.
///
/// # Errors
/// [`Kind::Failed`] where they are not what it says; AWS's, where that cannot be seen.
pub async fn check(output: &str, aws: &Aws) -> Result<Published> {
    let published = look(output, aws).await?;
    let at = S3Uri::parse(output).unwrap_or_default();
    for part in &published.record.parts {
        let key = format!("{}{}/{}", at.prefix(), layout::RESULTS, part.name);
        let found = aws.get_object(&at.bucket, &key).await?;
        if found.is_none_or(|(body, _)| sha256(&body) != part.sha256) {
            return Err(wrong(output, format!("{} has another SHA-256", part.name)));
        }
    }
    Ok(published)
}

fn wrong(output: &str, what: String) -> Error {
    Error::new(Kind::Failed, format!("the results in {output} are not what run.json says: {what}"))
        .help("find out who else writes there, then the same command again")
}

/// The same by names and counts alone: no part is fetched.
///
/// # Errors
/// Those of [`check`].
pub async fn look(output: &str, aws: &Aws) -> Result<Published> {
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
    let text = get(layout::PUBLISHED_RECORD).await?;
    let record: RunRecord = serde_json::from_slice(&text).map_err(|e| {
        Error::new(Kind::Failed, format!("{output}/{} cannot be read: {e}", layout::PUBLISHED_RECORD))
    })?;
    let wrong = |what: String| wrong(output, what);
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
    Ok(Published { record, sha256: sha256(&text), text })
}

/// Downloads `run.json` and the report; with `parts`, the Parquet files too, below `results/`.
pub async fn fetch(published: &Published, output: &str, to: &Path, parts: bool, aws: &Aws) -> Result<()> {
    let at = S3Uri::parse(output).unwrap_or_default();
    let get = async |name: &str| {
        let found = aws.get_object(&at.bucket, &format!("{}{name}", at.prefix())).await?;
        found.map(|(body, _)| body).ok_or_else(|| {
            Error::new(Kind::Failed, format!("{output}/{name} is not there any more"))
                .help("the same command again")
        })
    };
    write(to, layout::PUBLISHED_RECORD, &published.text)?;
    write(to, layout::REPORT, &get(layout::REPORT).await?)?;
    for part in published.record.parts.iter().filter(|_| parts) {
        // It becomes a file's name here.
        if part.name.contains(['/', '\\', '\0']) || part.name.starts_with('.') {
            return Err(Error::new(
                Kind::Failed,
                format!("{output} has a part with a name that is none of ours"),
            ));
        }
        let name = format!("{}/{}", layout::RESULTS, part.name);
        let body = get(&name).await?;
        if sha256(&body) != part.sha256 {
            return Err(Error::new(Kind::Failed, format!("{output}/{name} was replaced meanwhile"))
                .help("the same command again"));
        }
        write(to, &name, &body)?;
    }
    Ok(())
}

/// Writes a file below a folder, and nowhere else: through no link that somebody has put there.
pub(super) fn write(folder: &Path, name: &str, body: &[u8]) -> Result<()> {
    let file = folder.join(name);
    let mut at = folder.to_owned();
    for part in name.split('/') {
        at.push(part);
        if at.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            return Err(Error::usage(format!(
                "{} is a link, and results are written through none",
                at.display()
            ))
            .help(format!("rm {}, or name another folder: --download FOLDER", at.display())));
        }
    }
    std::fs::create_dir_all(file.parent().unwrap_or(&file))
        .and_then(|()| std::fs::write(&file, body))
        .map_err(|e| Error::usage(format!("cannot write {}: {}", file.display(), explain_io(&e))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_through_a_link_in_a_download() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let there = elsewhere.path().join("report.html");
        std::fs::write(&there, "mine").unwrap();
        std::os::unix::fs::symlink(&there, folder.path().join("report.html")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("results")).unwrap();
        for name in ["report.html", "results/part-00000.parquet"] {
            let error = write(folder.path(), name, b"evil").unwrap_err();
            assert!(error.message.contains("is a link"), "{error}");
        }
        assert_eq!(std::fs::read_to_string(there).unwrap(), "mine");
        assert_eq!(elsewhere.path().read_dir().unwrap().count(), 1);
        write(folder.path(), "results2/part", b"x").unwrap();
    }
}
