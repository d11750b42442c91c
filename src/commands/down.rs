//! `fruitctl down`: everything that `up` made is gone, and that is proven. What it takes from others is said before.

use std::io::IsTerminal;
use std::sync::Arc;

use fruitjob_interface::count;

use crate::app;
use crate::aws::Aws;
use crate::aws::s3::Found;
use crate::aws::s3_uri::S3Uri;
use crate::cancel::Cancel;
use crate::cli::{Cli, DownArgs};
use crate::error::{Error, Result};
use crate::logs::plain;
use crate::run::history::{Entry, LISTED, State};
use crate::run::settle;
use crate::stack::{Inventory, Names, OWNER, PROJECT, destroy, inventory, lock};
use crate::ui;
use crate::ui::steps::Steps;

/// Deletes, and looks again.
pub fn run(cli: &Cli, args: &DownArgs) -> Result<()> {
    let config = app::settings(cli, &args.cloud)?;
    app::block_on(async |cancel| {
        let (aws, names) = app::connect(&config, app::Access::unless(args.dry_run)).await?;
        let bucket = config.bucket.name.clone().unwrap_or_else(|| names.bucket());
        let before = inventory(&names, &bucket, &aws).await?;
        let keeps = !before.contents.is_empty() && !args.purge_bucket;
        let shown = if keeps { before.but_bucket() } else { before.clone() };
        let asks = args.purge_bucket && before.bucket.is_some() && !args.yes;
        let verb = if args.dry_run || asks { "would delete" } else { "deleting" };
        if args.dry_run || !args.cloud.json {
            show(&shown, args.cloud.json, verb);
        }
        if let Some(purged) = before.purged_of_adopted().filter(|_| args.purge_bucket) {
            ui::note(&format!("{verb} {purged}"));
        }
        for line in harm(&names, &before, args.purge_bucket, &aws).await {
            ui::note(&line);
        }
        if args.dry_run {
            return Ok(());
        }
        if asks {
            confirm(&names.project, &bucket, cancel).await?;
        }
        let steps = Steps::new();
        let report = |text: &str| steps.line(text);
        let work =
            async { destroy(&names, &bucket, args.purge_bucket, &before.clusters, &aws, &report).await };
        // The lock lies in the bucket: without bucket, nobody is at work.
        if before.bucket.is_some() && aws.find_bucket(&bucket).await? == Found::Here {
            let claim = app::claim(&aws, &bucket, "down", &args.lock, cancel);
            claim.hold_until_cancelled(&lock::Name::stack(), work).await?;
        } else {
            work.await?;
        }
        if args.cloud.json {
            ui::json(&inventory(&names, &bucket, &aws).await?);
        } else if before.is_adopted {
            let rest = if args.purge_bucket { "with its images and all that is others'" } else { "as it is" };
            ui::say(&format!(
                "gone; bucket {bucket} was not made by fruitctl and stays, {rest}; its tag {PROJECT} may be taken off"
            ));
        } else if keeps {
            let contents = before.contents.text();
            ui::say(&format!(
                "gone, but for bucket {bucket}: it has {contents} in it; --purge-bucket deletes it"
            ));
        } else {
            ui::say(&format!("gone: nothing of project {} is left in {}", names.project, names.region));
        }
        Ok(())
    })
}

/// Whose work goes with it: steps that are running or wait to; and, with the bucket, results. What cannot be read is said.
async fn harm(names: &Names, there: &Inventory, purge: bool, aws: &Arc<Aws>) -> Vec<String> {
    let mut lines = Vec::new();
    for id in &there.clusters {
        match work(id, aws).await {
            Ok(None) => {}
            Ok(Some(work)) => lines.push(format!("warning: {work}")),
            Err(error) => lines.push(format!(
                "warning: whether cluster {id} has work to do cannot be read: {}",
                error.message
            )),
        }
    }
    if let Some(bucket) = there.bucket.as_deref().filter(|_| purge) {
        if !there.is_adopted && !there.contents.is_empty() {
            lines.push(format!("warning: {} go with the bucket, images too", there.contents.text()));
        }
        match settle::runs(names, bucket, None, aws).await {
            Ok(runs) => lines.extend(runs_in(bucket, &runs)),
            Err(error) => {
                lines.push(format!("warning: whose results go with it cannot be read: {}", error.message))
            }
        }
    }
    lines
}

/// What a cluster has to do yet.
async fn work(id: &str, aws: &Aws) -> Result<Option<String>> {
    let steps = aws.steps(id).await?;
    let left = steps.iter().filter(|step| !step.has_ended());
    let left: Vec<_> = left.map(|step| format!("{} ({})", step.id, plain(&step.name))).collect();
    if left.is_empty() {
        return Ok(None);
    }
    let found = aws.describe_cluster(id).await?;
    let owner =
        found.as_ref().and_then(|found| found.cluster.tags.get(OWNER)).map_or("somebody", String::as_str);
    Ok(Some(format!("cluster {id} of {} has work to do: {}", plain(owner), left.join(", "))))
}

/// What of runs goes with a bucket.
fn runs_in(bucket: &str, runs: &[Entry]) -> Vec<String> {
    let at_work = runs.iter().filter(|run| run.state == State::Running);
    let mut lines: Vec<_> = at_work
        .map(|run| {
            format!("warning: run {} of {} is at work on {}", run.id, plain(&run.owner), plain(&run.output))
        })
        .collect();
    let here = |output: &str| S3Uri::parse(output).is_some_and(|at| at.bucket == bucket);
    let least = if runs.len() >= LISTED { "at least " } else { "" };
    let done: Vec<_> = runs.iter().filter(|run| run.state == State::Done && here(&run.output)).collect();
    if let Some(latest) = done.first() {
        lines.push(format!(
            "warning: the results of {least}{} go with the bucket, the latest those of {} of {}",
            count(done.len() as u64, "run"),
            latest.id,
            plain(&latest.owner)
        ));
    }
    if !runs.is_empty() {
        lines.push(format!(
            "warning: the history of {least}{} goes with the bucket",
            count(runs.len() as u64, "run")
        ));
    }
    lines
}

/// Has the project's name typed.
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage), where it is not, or nobody can.
async fn confirm(project: &str, bucket: &str, cancel: &Cancel) -> Result<()> {
    let refused = |why: String, next: &str| {
        Err(Error::usage(format!("{why}; nothing was deleted"))
            .help(format!("{next}; or, to keep the bucket: fruitctl down")))
    };
    if !std::io::stdin().is_terminal() {
        let why = format!("nobody is at a terminal to be asked whether bucket {bucket} may be deleted");
        return refused(why, "fruitctl down --purge-bucket --yes");
    }
    ui::ask(&format!(
        "type the project's name, {project}, to delete bucket {bucket} and all that was named above: "
    ));
    let read = tokio::task::spawn_blocking(|| {
        let mut typed = String::new();
        std::io::stdin().read_line(&mut typed).map(|_| typed)
    });
    let typed = cancel.until(async { Ok(read.await) }).await?;
    match typed.unwrap_or_else(|_| Ok(String::new())).unwrap_or_default().trim() {
        typed if typed == project => Ok(()),
        typed => {
            refused(format!("'{}' is not the project's name", plain(typed)), "fruitctl down --purge-bucket")
        }
    }
}

fn show(inventory: &Inventory, json: bool, verb: &str) {
    if json {
        return ui::json(inventory);
    }
    let lines = inventory.lines();
    if lines.is_empty() {
        return ui::say("nothing is there");
    }
    ui::say(&lines.iter().map(|line| format!("{verb} {line}")).collect::<Vec<_>>().join("\n"));
}
