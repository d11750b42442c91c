//! `fruitctl results`: where a run's results are, checked and fetched if wanted.

use std::sync::Arc;

use crate::app;
use crate::aws::Aws;
use crate::cli::{Cli, ResultsArgs};
use crate::error::{Error, Result};
use crate::run::history::{self, Entry, State};
use crate::run::{collect, settle};
use crate::stack::bucket;
use crate::ui;

/// Says it, or fetches.
pub fn run(cli: &Cli, args: &ResultsArgs) -> Result<()> {
    let config = app::settings(cli, &args.cloud)?;
    app::block_on(async |_| {
        let (aws, names) = app::connect(&config, app::Access::Reads).await?;
        let bucket = bucket::Spec::new(&names, &config.bucket).name;
        let aws = Arc::new(aws);
        let mut entry = history::find(args.run.as_deref(), &bucket, &aws).await?;
        let wants_latest = args.run.is_none() && entry.state != State::Done;
        if wants_latest || entry.state == State::Running {
            let runs = settle::runs(&names, &bucket, None, &aws).await?;
            let is_it =
                |run: &Entry| if wants_latest { run.state == State::Done } else { run.id == entry.id };
            entry = runs.into_iter().find(is_it).unwrap_or(entry);
        }
        let published = its_own(&entry, &bucket, &aws).await?;
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
        collect::fetch(&published, &entry.output, folder, args.parts, &aws).await?;
        let record = published.record;
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

/// The results of this run, and of no other.
///
/// # Errors
/// [`Kind::Usage`] where it has none, or a later run has replaced them.
async fn its_own(entry: &Entry, bucket: &str, aws: &Aws) -> Result<collect::Published> {
    let Entry { id, output, .. } = entry;
    if entry.state != State::Done {
        return Err(Error::usage(format!("run {id} is {}: it has no results", entry.state.name()))
            .help("fruitctl runs lists those that are done"));
    }
    let published = collect::check(output, aws).await?;
    let is_its = match &entry.results {
        Some(sha256) => *sha256 == published.sha256,
        // Of a run that does not say what its results were: those of the latest are there.
        None => {
            let runs = history::all(bucket, aws).await?;
            let last = runs.iter().find(|run| run.shares_output(output) && run.state == State::Done);
            last.is_none_or(|last| last.id == *id)
        }
    };
    if is_its {
        return Ok(published);
    }
    Err(Error::usage(format!(
        "the results in {output} are of another run than {id}, which has replaced its own"
    ))
    .help(format!(
        "aws s3 cp --recursive {}/results FOLDER fetches what is there; fruitctl clone {id} runs its job again",
        output.trim_end_matches('/')
    )))
}
