//! `fruitctl upload`: images of this machine to the bucket, as far as they are new or have changed. What is no image by
//! its name stays here, and so does what a link leads to.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use fruitjob_interface::{IMAGES, count};

use tokio::task::JoinSet;

use crate::app;
use crate::aws::Aws;
use crate::aws::etag;
use crate::aws::s3::Object;
use crate::aws::s3_uri::S3Uri;
use crate::cli::{Cli, UploadArgs};
use crate::error::{Error, Kind, Result};
use crate::logs::plain;
use crate::stack::bucket;
use crate::ui;

/// Uploads at once.
const AT_ONCE: usize = 16;

/// A file of the folder.
#[derive(Debug)]
struct File {
    path: PathBuf,
    key: String,
    bytes: u64,
    /// When it was written, in seconds since 1970.
    modified: i64,
}

/// What there is in a folder.
#[derive(Debug, Default)]
struct Folder {
    images: Vec<File>,
    /// Links that were not followed.
    links: u64,
    /// Files that are no images by their names.
    others: u64,
}

/// Compares, and uploads.
pub fn run(cli: &Cli, args: &UploadArgs) -> Result<()> {
    let config = app::settings(cli, &args.cloud)?;
    app::block_on(async |_| {
        let (aws, names) = app::connect(&config, app::Access::unless(args.dry_run)).await?;
        let own = bucket::Spec::new(&names, &config.bucket);
        let configured = config.job.input.clone().filter(|uri| S3Uri::parse(uri).is_some());
        let to =
            args.to.clone().or(configured).unwrap_or_else(|| format!("s3://{}/{}", own.name, bucket::INPUT));
        let at = S3Uri::parse(&to).ok_or_else(|| Error::usage(format!("{to} is no s3:// URI")))?;
        let (prefix, bucket) = (at.prefix(), at.bucket);
        let is_own = bucket == own.name;
        let exists = !is_own || bucket::observe(&names, &own.name, &aws).await?.is_some();
        if !exists && !args.dry_run {
            bucket::create(&names, &own, &aws).await?;
            bucket::apply(&own, None, &aws).await?;
        }
        let found = if exists { aws.list_objects(&bucket, &prefix).await? } else { Vec::new() };
        let there: HashMap<String, Object> = found.into_iter().map(|o| (o.key.clone(), o)).collect();
        let Folder { images, links, others } = look(&args.dir, &prefix, args.follow_links)?;
        if images.is_empty() {
            let skipped = passed_over(links, others).map(|text| format!(" ({text})")).unwrap_or_default();
            return Err(Error::usage(format!("there is no image in {}{skipped}", args.dir.display()))
                .help("fruitctl samples fruits (draws some)"));
        }
        if args.delete && links > 0 {
            return Err(Error::usage(format!(
                "--delete would delete what lies behind {} that were not followed",
                count(links, "link")
            ))
            .help("add --follow-links, or leave --delete out"));
        }
        let gone = if args.delete { gone(&images, &there) } else { Vec::new() };
        let (files, same) = compare(images, &there, &bucket, &aws).await?;
        if let Some(text) = passed_over(links, others) {
            ui::note(&text);
        }
        let (number, bytes) = (files.len() as u64, files.iter().map(|f| f.bytes).sum::<u64>());
        let megabytes = bytes as f64 / 1e6;
        if args.dry_run {
            for file in &files {
                ui::say(&format!("would upload {} to s3://{bucket}/{}", file.path.display(), file.key));
            }
            for key in &gone {
                ui::say(&format!("would delete s3://{bucket}/{key}"));
            }
            ui::say(&format!("{}, {megabytes:.1} MB; {same} are there already", count(number, "image")));
            return Ok(());
        }
        let bar = ui::progress::bar(number, "upload", "images");
        send(files, &bucket, &aws, &|| bar.inc(1)).await?;
        bar.finish_and_clear();
        for key in &gone {
            aws.delete_object(&bucket, key).await?;
        }
        if args.cloud.json {
            ui::json(&serde_json::json!({
                "uploaded": number, "bytes": bytes, "unchanged": same, "deleted": gone.len(), "to": to
            }));
        } else {
            let deleted = match gone.len() as u64 {
                0 => String::new(),
                n => format!("; deleted {} that are not here", count(n, "image")),
            };
            ui::say(&format!(
                "uploaded {} ({megabytes:.1} MB) to {to}; {same} were there already{deleted}",
                count(number, "image")
            ));
        }
        Ok(())
    })
}

/// The images of a folder, with the keys that they get.
///
/// # Errors
/// [`Kind::Usage`] for a name that is no UTF-8, as keys are: two of them could become one.
fn look(dir: &Path, prefix: &str, follow_links: bool) -> Result<Folder> {
    let mut folder = Folder::default();
    for entry in walkdir::WalkDir::new(dir).follow_links(follow_links).sort_by_file_name() {
        let entry = entry.map_err(|e| Error::usage(format!("cannot read {}: {e}", dir.display())))?;
        let name = entry.file_name().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if entry.path_is_symlink() && !follow_links && entry.depth() > 0 {
            folder.links += 1;
            continue;
        }
        if !entry.file_type().is_file() {
            continue;
        }
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
        if !ending.is_some_and(|ending| IMAGES.contains(&ending.as_str())) {
            folder.others += 1;
            continue;
        }
        let cannot = |e: &dyn std::fmt::Display| {
            Error::usage(format!("cannot read {}: {e}", plain(&entry.path().to_string_lossy())))
        };
        let below = entry.path().strip_prefix(dir).unwrap_or(entry.path());
        let Some(below) = below.to_str() else {
            return Err(cannot(&"its name is no UTF-8, as keys in S3 are").help("rename it"));
        };
        let key = format!("{prefix}{below}");
        let meta = entry.metadata().map_err(|e| cannot(&e))?;
        let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let modified = modified.map_or(0, |d| d.as_secs() as i64);
        folder.images.push(File { path: entry.into_path(), key, bytes: meta.len(), modified });
    }
    Ok(folder)
}

/// What was passed over, in words.
fn passed_over(links: u64, others: u64) -> Option<String> {
    let links = (links > 0).then(|| format!("{} not followed (--follow-links)", count(links, "link")));
    let others =
        (others > 0).then(|| format!("{} passed over that no image's name ends like", count(others, "file")));
    let parts: Vec<_> = links.into_iter().chain(others).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Keys of images that are there and not here.
fn gone(images: &[File], there: &HashMap<String, Object>) -> Vec<String> {
    let here: HashSet<&str> = images.iter().map(|file| file.key.as_str()).collect();
    let is_image = |key: &str| {
        key.rsplit_once('.').is_some_and(|(_, ending)| IMAGES.contains(&ending.to_ascii_lowercase().as_str()))
    };
    let mut gone: Vec<_> =
        there.keys().filter(|key| is_image(key) && !here.contains(key.as_str())).cloned().collect();
    gone.sort();
    gone
}

/// Which images are not there yet as they are here, and how many are: by content; where a key of KMS hides that, by size
/// and time.
async fn compare(
    images: Vec<File>,
    there: &HashMap<String, Object>,
    bucket: &str,
    aws: &Aws,
) -> Result<(Vec<File>, u64)> {
    let (mut files, mut same) = (Vec::new(), 0);
    for file in images {
        // There may be many, and a signal has to be heard.
        tokio::task::yield_now().await;
        let Some(found) = there.get(&file.key).filter(|found| found.bytes == file.bytes) else {
            files.push(file);
            continue;
        };
        let etag = etag::of_file(&file.path)
            .map_err(|e| Error::usage(format!("cannot read {}: {e}", plain(&file.path.to_string_lossy()))))?;
        let is_same =
            found.etag == etag || found.modified >= file.modified && aws.has_kms(bucket, &file.key).await?;
        if is_same { same += 1 } else { files.push(file) }
    }
    Ok((files, same))
}

/// Uploads files, several at once; `sent` is told of each.
async fn send(files: Vec<File>, bucket: &str, aws: &Arc<Aws>, sent: &(dyn Fn() + Sync)) -> Result<()> {
    let mut running = JoinSet::new();
    let mut waiting = files.into_iter();
    let (bucket, aws) = (Arc::new(bucket.to_owned()), aws.clone());
    loop {
        while running.len() < AT_ONCE
            && let Some(file) = waiting.next()
        {
            let (aws, bucket) = (aws.clone(), bucket.clone());
            running.spawn(async move {
                match aws.upload_file(&bucket, &file.key, &file.path).await {
                    Ok(uploaded) => uploaded.map_err(Error::from),
                    Err(io) => {
                        Err(Error::new(Kind::Failed, format!("cannot read {}: {io}", file.path.display())))
                    }
                }
            });
        }
        match running.join_next().await {
            None => break,
            Some(Ok(result)) => result
                .map_err(|e| e.leftover("what was uploaded so far").help("the same command: it goes on"))?,
            Some(Err(panicked)) => return Err(Error::new(Kind::Bug, panicked.to_string())),
        }
        sent();
    }
    Ok(())
}
