//! A run on a cluster, for the commands that start one: what is asked for, and what came of it.

use fruitjob_interface::{Event, Observer};

use super::{Access, block_on, claim, connect, local, notify};
use crate::cancel::Cancel;
use crate::cli::ClusterArgs;
use crate::config::Config;
use crate::error::Result;
use crate::run::request::{new_id, places};
use crate::run::ship::find_labels;
use crate::run::summary::Summary;
use crate::run::{ClusterRun, Finished, Outcome, Request};
use crate::stack::Spec;
use crate::ui;
use crate::ui::cluster_run::ClusterRunReporter;

/// Runs the configured job on a cluster. What it names, the nodes' role will allow. Where its new results are, if there are some.
pub fn cluster_run(config: &Config, flags: &ClusterArgs, json: bool) -> Result<Option<String>> {
    ui::stamp_lines();
    let mut summary = Summary::new(new_id());
    // A cluster would find it out after minutes that are paid.
    let result = local::check_model(&config.job, &config.preprocessing).and_then(|()| {
        block_on(async |cancel: &Cancel| execute(config, flags, json, &mut summary, cancel).await)
    });
    summary.end(&result);
    notify::failed(&summary);
    if json && let Err(error) = &result {
        ui::JsonLines.event(&Event::Failed { message: error.to_string(), exit_code: error.kind.exit_code() });
    }
    // A run's own failure is what has to be told.
    result.and(ui::summary::publish(&summary, Some(&flags.download)))?;
    let has_ended = summary.results_of.is_none() && summary.run.is_some();
    Ok(summary.output.filter(|_| has_ended))
}

/// Runs it, and notes in `summary` what there is to say.
async fn execute(
    config: &Config,
    flags: &ClusterArgs,
    json: bool,
    summary: &mut Summary,
    cancel: &Cancel,
) -> Result<()> {
    let (aws, _) = connect(config, Access::Changes).await?;
    let (spec, differs) = Spec::for_run(config, flags.one_shot, &aws).await?;
    if let Some(differs) = differs {
        ui::note(&differs);
    }
    let request = Request {
        id: summary.id.clone(),
        job: places(config.job.clone(), &spec.bucket.name)?,
        preprocessing: config.preprocessing.clone(),
        executable: flags.executable.clone(),
        keep: flags.keep,
        one_shot: flags.one_shot,
        if_changed: flags.if_changed,
        estimate: flags.estimate,
        no_ssh: flags.no_ssh,
        max_seconds: flags.max_duration,
        max_cost: flags.max_cost,
        download: flags.download.clone(),
    };
    (summary.input, summary.output) = (request.job.input.clone(), request.job.output.clone());
    find_labels(&request)?;
    let run = ClusterRun {
        config,
        spec: &spec,
        request: &request,
        aws: &aws,
        claim: &claim(&aws, &spec.bucket.name, "run", &flags.lock, cancel),
        reporter: &ClusterRunReporter::new(json),
    };
    match run.run(summary).await? {
        Outcome::Unchanged(last) => {
            summary.results_of = Some(last.id.clone());
            if json {
                ui::JsonLines.event(&Event::Unchanged { run: last.id, ended: last.ended });
            } else {
                ui::say(&format!(
                    "nothing has changed in {} since run {}: its results stand, and no cluster was started",
                    last.input, last.id
                ));
            }
        }
        Outcome::Estimated(estimate) if json => ui::json(&estimate),
        Outcome::Estimated(_) => {}
        Outcome::Finished(finished) => show(*finished, &request, json),
    }
    Ok(())
}

fn show(finished: Finished, request: &Request, json: bool) {
    let Finished { record, output, dollars, planned, left } = finished;
    if json {
        // What may cost money is told to whoever reads no sentences, too.
        ui::note(&left);
        if let Some(record) = record {
            ui::JsonLines.event(&Event::Finished { run: Box::new(record) });
        }
        return;
    }
    if let Some(record) = &record {
        let output = output.trim_end_matches('/');
        let report = request.download.join("report.html");
        ui::summary::record(record, &|name| {
            if name == "report.html" { report.display().to_string() } else { format!("{output}/{name}") }
        });
    }
    let cost = dollars.map_or("unknown".to_owned(), |d| format!("${d:.2}"));
    ui::say(&format!("cost      {cost} ({planned})\n{left}"));
}
