//! `fruitctl down`: everything that `up` made is gone, and that is proven.

use crate::app;
use crate::aws::s3::Found;
use crate::cli::{Cli, DownArgs};
use crate::error::Result;
use crate::stack::{Inventory, PROJECT, destroy, inventory, lock};
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
        if args.dry_run || !args.cloud.json {
            show(&shown, args.cloud.json, args.dry_run);
        }
        if let Some(purged) = before.purged_of_adopted().filter(|_| args.purge_bucket) {
            ui::note(&format!("{} {purged}", if args.dry_run { "would delete" } else { "deleting" }));
        }
        if args.dry_run {
            return Ok(());
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

fn show(inventory: &Inventory, json: bool, dry_run: bool) {
    if json {
        return ui::json(inventory);
    }
    let lines = inventory.lines();
    if lines.is_empty() {
        return ui::say("nothing is there");
    }
    let verb = if dry_run { "would delete" } else { "deleting" };
    ui::say(&lines.iter().map(|line| format!("{verb} {line}")).collect::<Vec<_>>().join("\n"));
}
