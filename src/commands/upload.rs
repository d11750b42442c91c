//! `fruitctl upload`: images of this machine to the bucket, as far as they are new or have changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tokio::task::JoinSet;

use crate::app;
use crate::aws::Aws;
use crate::aws::s3_uri::S3Uri;
use crate::cli::{Cli, UploadArgs};
use crate::error::{Error, Kind, Result};
use crate::stack::bucket;
use crate::ui;

/// Uploads at once.
const AT_ONCE: usize = 16;

/// A file that goes up.
struct File {
    path: PathBuf,
    key: String,
    bytes: u64,
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
            bucket::create(&own, &aws).await?;
            bucket::apply(&own, &Default::default(), &aws).await?;
        }
        let there: HashMap<String, (u64, i64)> = match exists {
            true => aws
                .list_objects(&bucket, &prefix)
                .await?
                .into_iter()
                .map(|o| (o.key, (o.bytes, o.modified)))
                .collect(),
            false => HashMap::new(),
        };
        let (files, same) = compare(&args.dir, &prefix, &there)?;
        if files.is_empty() && same == 0 {
            return Err(Error::usage(format!("there is no file in {}", args.dir.display()))
                .help("fruitctl samples fruits (draws some)"));
        }
        let (count, bytes) = (files.len() as u64, files.iter().map(|f| f.bytes).sum::<u64>());
        let megabytes = bytes as f64 / 1e6;
        if args.dry_run {
            for file in &files {
                ui::say(&format!("would upload {} to s3://{bucket}/{}", file.path.display(), file.key));
            }
            ui::say(&format!(
                "{}, {megabytes:.1} MB; {same} are there already",
                fruitjob_interface::count(count, "file")
            ));
            return Ok(());
        }
        let bar = ui::progress::bar(count, "upload", "files");
        send(files, &bucket, &aws, &|| bar.inc(1)).await?;
        bar.finish_and_clear();
        if args.cloud.json {
            ui::json(&serde_json::json!({ "uploaded": count, "bytes": bytes, "unchanged": same, "to": to }));
        } else {
            ui::say(&format!(
                "uploaded {} ({megabytes:.1} MB) to {to}; {same} were there already",
                fruitjob_interface::count(count, "file")
            ));
        }
        Ok(())
    })
}

/// Which files of a folder are not there yet as they are here, and how many are. `there`: key -> bytes, and when it was
/// written.
fn compare(dir: &Path, prefix: &str, there: &HashMap<String, (u64, i64)>) -> Result<(Vec<File>, u64)> {
    let (mut files, mut same) = (Vec::new(), 0u64);
    for entry in walkdir::WalkDir::new(dir).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|e| Error::usage(format!("cannot read {}: {e}", dir.display())))?;
        if !entry.file_type().is_file() || entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let meta = entry
            .metadata()
            .map_err(|e| Error::usage(format!("cannot read {}: {e}", entry.path().display())))?;
        let below = entry.path().strip_prefix(dir).unwrap_or(entry.path()).to_string_lossy().into_owned();
        let key = format!("{prefix}{below}");
        let modified = meta
            .modified()
            .ok()
            .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |d| d.as_secs() as i64);
        match there.get(&key) {
            Some((bytes, written)) if *bytes == meta.len() && *written >= modified => same += 1,
            _ => files.push(File { path: entry.into_path(), key, bytes: meta.len() }),
        }
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
