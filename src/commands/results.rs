//! `fruitctl results`: where a run's results are, checked and fetched if wanted.

use crate::app;
use crate::cli::{Cli, ResultsArgs};
use crate::error::Result;
use crate::run::{collect, history};
use crate::stack::bucket;
use crate::ui;

/// Says it, or fetches.
pub fn run(cli: &Cli, args: &ResultsArgs) -> Result<()> {
    let config = app::settings(cli, &args.cloud)?;
    app::block_on(async |_| {
        let (aws, names) = app::connect(&config, app::Access::Reads).await?;
        let bucket = bucket::Spec::new(&names, &config.bucket).name;
        let entry = history::find(args.run.as_deref(), &bucket, &aws).await?;
        let Some(folder) = &args.download else {
            if args.cloud.json {
                ui::json(&entry);
            } else {
                ui::say(&format!(
                    "{}/results  ({}, {})",
                    entry.output.trim_end_matches('/'),
                    entry.id,
                    entry.state.name()
                ));
            }
            return Ok(());
        };
        let record = collect::collect(&entry.output, folder, &aws).await?;
        if args.cloud.json {
            ui::json(&record);
        } else {
            let parts = fruitjob_interface::count(record.parts.len() as u64, "part");
            ui::say(&format!(
                "{parts} with {} rows are as run.json says; {}/report.html",
                record.images.results,
                folder.display()
            ));
        }
        Ok(())
    })
}
