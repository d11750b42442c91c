//! `fruitctl prune`: deletes what is kept for later runs and no run will ask for again.

use std::collections::HashSet;
use std::sync::Arc;

use fruitjob_interface::prune::{self, Garbage, Stored};
use fruitjob_interface::{RunRecord, count};

use crate::app;
use crate::app::local;
use crate::aws::Aws;
use crate::aws::s3::Found;
use crate::aws::s3_uri::S3Uri;
use crate::cancel::Cancel;
use crate::cli::{Cli, PruneArgs};
use crate::config::{Config, Target};
use crate::error::Result;
use crate::logs::plain;
use crate::run::history::{self, State};
use crate::run::preconditions::no_other_run;
use crate::run::request::places;
use crate::run::settle;
use crate::stack::{Names, bucket, lock};
use crate::{clock, ui};

/// Seconds for which an executable is kept that no run names: it may have been shipped for one that just begins.
const SHIPPED: i64 = 24 * 3600;

/// Finds it, and deletes it unless this is a trial.
pub fn run(cli: &Cli, args: &PruneArgs) -> Result<()> {
    let config = app::settings(cli, args)?;
    let garbage = match config.target.unwrap_or(Target::Local) {
        Target::Local => local::prune(config.job.output.as_deref(), oldest(args), args.dry_run)?,
        Target::Emr => app::block_on(async |cancel| in_the_cloud(&config, args, cancel).await)?,
    };
    if args.cloud.json {
        ui::json(&garbage);
        return Ok(());
    }
    if garbage.is_empty() {
        ui::say("nothing to prune: all that is kept is in use");
    }
    let verb = if args.dry_run { "would delete" } else { "deleted" };
    for garbage in &garbage {
        let objects = count(garbage.objects.len() as u64, "object");
        ui::say(&format!("{verb} {}: {objects}, {:.1} MB", garbage.what, garbage.bytes as f64 / 1e6));
    }
    Ok(())
}

fn oldest(args: &PruneArgs) -> i64 {
    clock::now() - i64::from(args.pca_days) * 24 * 3600
}

async fn in_the_cloud(config: &Config, args: &PruneArgs, cancel: &Cancel) -> Result<Vec<Garbage>> {
    let (aws, names) = app::connect(config, app::Access::unless(args.dry_run)).await?;
    let own = bucket::Spec::new(&names, &config.bucket).name;
    // Before the first run, there is nothing that a schedule should fail for.
    if aws.find_bucket(&own).await? == Found::Absent {
        return Ok(Vec::new());
    }
    let job = places(config.job.clone(), &own)?;
    let output = job.output.unwrap_or_default();
    let claim = app::claim(&aws, &own, "prune", &args.lock, cancel);
    let work = Box::pin(under_lock(&names, &own, &output, args, &claim));
    claim.hold_until_cancelled(&lock::Name::output(&output), work).await
}

async fn under_lock(
    names: &Names,
    own: &str,
    output: &str,
    args: &PruneArgs,
    claim: &lock::Claim<'_>,
) -> Result<Vec<Garbage>> {
    let aws = claim.aws;
    no_other_run(&history::all(own, aws).await?, names, output, aws).await?;
    let at = S3Uri::parse(output).unwrap_or_default();
    let (bucket, base) = (&at.bucket, at.prefix());
    let find = async |since| -> Result<Vec<Garbage>> {
        let Some(published) = published(bucket, &base, aws).await? else { return Ok(Vec::new()) };
        let mut stored = Vec::new();
        for folder in prune::FOLDERS {
            stored.extend(below(bucket, &format!("{base}{folder}/"), base.len(), aws).await?);
        }
        Ok(prune::find(&stored, &published, since))
    };
    // Features are read by runs over this output alone; no PCA is as old as that.
    let mut all = find(i64::MIN).await?;
    delete(bucket, &base, &all, args, aws).await?;
    // Others read PCAs and what was shipped. A run that cannot be seen yet waits for this lock before it looks for either.
    let shared = async {
        if let Some(who) = others_at_work(names, own, output, aws).await? {
            ui::note(&format!("{who}: PCAs and what was shipped stay, for they may be in use"));
            return Ok(Vec::new());
        }
        let (pcas, shipped) = (find(oldest(args)).await?, shipped(own, aws).await?);
        delete(bucket, &base, &pcas, args, aws).await?;
        delete(own, "", &shipped, args, aws).await?;
        Ok([pcas, shipped].concat())
    };
    let claim = lock::Claim { force: false, ..*claim };
    let shared = claim.hold_until_cancelled(&lock::Name::stack(), shared).await.map_err(|error| {
        if args.dry_run {
            error
        } else {
            error.leftover("PCAs and what was shipped; features of no run are deleted")
        }
    })?;
    // A trial finds features twice.
    all.extend(shared.into_iter().filter(|garbage| !all.contains(garbage)).collect::<Vec<_>>());
    Ok(all)
}

/// Who works on another output, if somebody does.
async fn others_at_work(names: &Names, own: &str, output: &str, aws: &Arc<Aws>) -> Result<Option<String>> {
    let known = [lock::Name::stack(), lock::Name::output(output)];
    let held = lock::held(aws, own).await?;
    if let Some((_, holder)) = held.iter().find(|(name, _)| !known.contains(name)) {
        return Ok(Some(format!("{} is at 'fruitctl {}'", plain(&holder.owner), plain(&holder.doing))));
    }
    let runs = settle::runs(names, own, None, aws).await?;
    let at_work = runs.iter().find(|run| run.state == State::Running && !run.shares_output(output));
    Ok(at_work.map(|run| format!("run {} of {} is at work", run.id, plain(&run.owner))))
}

/// The record of the published results, if all of them are there.
async fn published(bucket: &str, base: &str, aws: &Aws) -> Result<Option<RunRecord>> {
    if !aws.has_object(bucket, &format!("{base}{}", fruitjob_interface::layout::SUCCESS)).await? {
        return Ok(None);
    }
    let record =
        aws.get_object(bucket, &format!("{base}{}", fruitjob_interface::layout::PUBLISHED_RECORD)).await?;
    Ok(record.and_then(|(body, _)| serde_json::from_slice(&body).ok()))
}

/// Objects below a prefix; their names without its first `skip` bytes.
async fn below(bucket: &str, prefix: &str, skip: usize, aws: &Aws) -> Result<Vec<Stored>> {
    let objects = aws.list_objects(bucket, prefix).await?.into_iter();
    let stored =
        objects.map(|o| Stored { name: o.key[skip..].to_owned(), bytes: o.bytes, modified: o.modified });
    Ok(stored.collect())
}

/// Executables, models and scripts that were shipped for runs that the history knows no more.
async fn shipped(own: &str, aws: &Aws) -> Result<Vec<Garbage>> {
    let runs = history::all(own, aws).await?;
    let base = format!("s3://{own}/");
    let mut named = HashSet::new();
    for run in &runs {
        // Of a run that does not say what it ran, anything may be; then nothing goes.
        let work = run.work()?;
        // By the folder: a model's weights may be in files beside it.
        let uris = [Some(work.executable), work.job.model, work.job.labels].into_iter().flatten();
        named.extend(uris.filter_map(|uri| Some(folder(uri.strip_prefix(&base)?).to_owned())));
    }
    let mut garbage = Garbage { what: "what was shipped for runs of long ago".into(), ..Garbage::default() };
    for object in below(own, bucket::JOBS, 0, aws).await? {
        // Every run of this version ships the same script.
        let script = object.name.ends_with("/step.sh");
        if !script && !named.contains(folder(&object.name)) && object.modified < clock::now() - SHIPPED {
            garbage.bytes += object.bytes;
            garbage.objects.push(object.name);
        }
    }
    Ok(if garbage.objects.is_empty() { Vec::new() } else { vec![garbage] })
}

/// The folder that something was shipped to: `jobs/HASH`.
fn folder(key: &str) -> &str {
    let below = key.strip_prefix(bucket::JOBS).unwrap_or_default();
    &key[..key.len() - below.len() + below.find('/').unwrap_or(below.len())]
}

async fn delete(bucket: &str, base: &str, garbage: &[Garbage], args: &PruneArgs, aws: &Aws) -> Result<()> {
    if !args.dry_run {
        for name in garbage.iter().flat_map(|garbage| &garbage.objects) {
            aws.delete_object(bucket, &format!("{base}{name}")).await?;
        }
    }
    Ok(())
}
