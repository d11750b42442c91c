//! `fruitctl run` with target emr: from here to results on a cluster, and the cluster's end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use fruitjob_interface::event::JsonLines;
use fruitjob_interface::{Event, Observer};

use super::{cloud, plan};
use crate::aws::Aws;
use crate::aws::emr::StepSpec;
use crate::cli::{CloudArgs, ClusterArgs, LockArgs, StackArgs};
use crate::config::Config;
use crate::cost::Prices;
use crate::error::{Error, Kind, Result};
use crate::run::summary::Summary;
use crate::run::watch::{Ended, Stream, Watch};
use crate::run::{self, Request, collect, history, ship, spark, submit, unchanged};
use crate::stack::roles::s3_place;
use crate::stack::{self, Names, Part, Spec, bucket, cluster, lock};
use crate::ui::progress::Progress;
use crate::ui::steps::Steps;
use crate::{clock, explain, ui};

/// Lines of stderr that are remembered for an explanation.
const REMEMBERED: usize = 20;

/// What the step said.
#[derive(Default)]
struct Heard {
    failure: Option<(String, i32)>,
    stderr: VecDeque<String>,
}

/// Runs the configured job on a cluster. What it names, the nodes' role will allow.
pub fn run(config: Config, flags: &ClusterArgs, json: bool) -> Result<()> {
    let cloud_args = CloudArgs { region: flags.region.clone(), json };
    let config =
        cloud::with_flags(config, &StackArgs { cloud: cloud_args, ssh_cidr: flags.ssh_cidr.clone() });
    ui::stamp_lines();
    let mut summary = Summary::new(run::new_id());
    let result = cloud::block_on(execute(&config, flags, json, &mut summary));
    summary.end(&result);
    if json && let Err(error) = &result {
        JsonLines.event(&Event::Failed { message: error.to_string(), exit_code: error.kind.exit_code() });
    }
    // A run's own failure is what has to be told.
    result.and(summary.publish(Some(&flags.download)))
}

/// Runs it, and notes in `summary` what there is to say.
async fn execute(config: &Config, flags: &ClusterArgs, json: bool, summary: &mut Summary) -> Result<()> {
    let (aws, names) = cloud::connect(config).await?;
    let spec = Spec::resolve(config, &aws).await?;
    let mut request = Request {
        id: summary.id.clone(),
        job: run::places(config.job.clone(), &spec.bucket.name)?,
        preprocessing: config.preprocessing.clone(),
        executable: flags.executable.clone(),
        keep: flags.keep,
        one_shot: flags.one_shot,
        if_changed: flags.if_changed,
        no_ssh: flags.no_ssh,
        max_seconds: flags.max_duration,
        max_cost: flags.max_cost,
        download: flags.download.clone(),
    };
    look_for_input(&request, &spec, &aws).await?;
    if bucket::observe(&names, &spec.bucket.name, &aws).await?.is_none() {
        bucket::create(&spec.bucket, &aws).await?;
    }
    (summary.input, summary.output) = (request.job.input.clone(), request.job.output.clone());
    if let Some(pin) = &request.job.pin_pca {
        request.job.pin_pca = Some(history::pca(pin, &spec.bucket.name, &aws).await?);
    }
    let output = lock::Name::output(request.job.output.as_deref().unwrap_or_default());
    let work = Box::pin(pipeline(config, &spec, &request, &aws, flags, json, summary));
    cloud::under_lock(&aws, &spec.bucket.name, &output, "run", &flags.lock, work).await
}

/// A bucket that is not there is found out before anything is made. One that only the nodes may look into is theirs to
/// find out about.
async fn look_for_input(request: &Request, spec: &Spec, aws: &Aws) -> Result<()> {
    let place = request.job.input.as_deref().and_then(s3_place);
    let Some((bucket, prefix)) = place.filter(|(bucket, _)| *bucket != spec.bucket.name) else {
        return Ok(());
    };
    match aws.count_objects(&bucket, &prefix, 1).await {
        Err(error) if error.code == "NoSuchBucket" => {
            Err(Error::usage(format!("the input's bucket {bucket} is not there: there is no such bucket"))
                .next("check input under [job], or --input"))
        }
        _ => Ok(()),
    }
}

/// Everything under the lock of the output.
async fn pipeline(
    config: &Config,
    spec: &Spec,
    request: &Request,
    aws: &Arc<Aws>,
    flags: &ClusterArgs,
    json: bool,
    summary: &mut Summary,
) -> Result<()> {
    let steps = Steps::new();
    let mut fingerprint = None;
    let news = async {
        let output = request.job.output.as_deref().unwrap_or_default();
        no_other_run(&spec.names, &spec.bucket.name, output, aws).await?;
        if !request.if_changed {
            return Ok(None);
        }
        let now = unchanged::fingerprint(request, aws).await?;
        let same = unchanged::since(spec, request, &now, aws).await?;
        fingerprint = Some(now);
        Ok(same)
    };
    if let Some(last) = cloud::until_signal(news).await? {
        return nothing_to_do(&last, json, summary);
    }
    let ready = async {
        let choice = spark::choose(spec, request, aws).await?;
        let standing = prepare(config, spec, request, aws, &flags.lock, &steps).await?;
        steps.state("shipping", "the executable and the model");
        let shipped = ship::ship(spec, request, aws).await?;
        steps.done("shipping");
        Ok((standing, shipped, choice))
    };
    let (standing, shipped, choice) = cloud::until_signal(ready).await?;
    ui::note(&format!("engine: {}", choice.why));
    let mut step = submit::step(request, &shipped, choice.spark.as_deref(), &aws.region, standing.is_none())?;
    let mut entry = history::Entry {
        version: 1,
        id: request.id.clone(),
        state: "running".into(),
        one_shot: standing.is_none(),
        cluster: standing.unwrap_or_default(),
        input: request.job.input.clone().unwrap_or_default(),
        output: request.job.output.clone().unwrap_or_default(),
        args: step.args.clone(),
        owner: aws.caller.clone(),
        started: summary.started.clone(),
        fingerprint,
        ..history::Entry::default()
    };
    let prices = plan::prices(config, spec.cluster.workforce.iter(), aws).await;
    let heard = Mutex::new(Heard::default());
    history::put(&entry, &spec.bucket.name, aws).await?;
    // From here on there is something that costs money; whatever happens, it is ended.
    let work = async {
        place(spec, &mut entry, &mut step, aws, &steps).await?;
        follow(spec, request, &entry, &prices, &heard, aws, &steps, json).await
    };
    let followed = cloud::until_signal(work).await;
    steps.clear();
    if matches!(&followed, Err(e) if matches!(e.kind, Kind::Interrupted(_))) {
        ui::note("stopping: the step is cancelled, and the cluster ends");
        find_what_was_asked_for(spec, &mut entry, &step, aws).await?;
    }
    let id = entry.cluster.clone();
    summary.cluster = Some(id.clone()).filter(|id| !id.is_empty());
    let result = match &followed {
        Ok(ended) => verdict(spec, ended, &heard, aws).await,
        Err(error) => Err(error.clone()),
    };
    let interrupted = matches!(&result, Err(e) if matches!(e.kind, Kind::Interrupted(_)));
    let left = end(&id, &entry.step, followed.is_err(), request.keep, interrupted, aws, &steps).await;
    let collected = match (&result, &request.job.output) {
        (Ok(()), Some(output)) => collect::collect(output, &request.download, aws).await.map(Some),
        _ => Ok(None),
    };
    let dollars = dollars(&id, spec, &prices, aws).await;
    summary.dollars = dollars;
    let result = result.and(collected);
    entry.state = match &result {
        Ok(_) => "done",
        Err(e) if matches!(e.kind, Kind::Interrupted(_)) => "stopped",
        Err(_) => "failed",
    }
    .into();
    entry.ended = Some(clock::rfc3339(clock::now()));
    entry.dollars = dollars;
    entry.failure = result.as_ref().err().map(|e| e.message.clone());
    summary.run = result.as_ref().ok().cloned().flatten();
    entry.images = summary.run.as_ref().map(|run| run.images.results);
    entry.pca = summary.run.as_ref().and_then(|run| run.pca.as_ref()).map(|pca| pca.id.clone());
    let kept = history::put(&entry, &spec.bucket.name, aws).await;
    if let Err(error) = result {
        return Err(error.left(left?));
    }
    let left = left?;
    kept?;
    if json {
        if let Some(record) = summary.run.clone() {
            JsonLines.event(&Event::Finished { run: Box::new(record) });
        }
    } else {
        if let Some(record) = &summary.run {
            let output = entry.output.trim_end_matches('/');
            let report = request.download.join("report.html");
            ui::summary::record(record, &|name| {
                if name == "report.html" { report.display().to_string() } else { format!("{output}/{name}") }
            });
        }
        let cost = dollars.map_or("unknown".to_owned(), |d| format!("${d:.2}"));
        let estimate = prices.cluster(&aws.region, &spec.cluster.workforce, spec.cluster.root_gb);
        ui::say(&format!("cost      {cost} (planned: {} an hour)\n{left}", estimate.short()));
    }
    Ok(())
}

/// Says that the results of an earlier run stand.
fn nothing_to_do(last: &history::Entry, json: bool, summary: &mut Summary) -> Result<()> {
    summary.results_of = Some(last.id.clone());
    if json {
        JsonLines.event(&Event::Unchanged { run: last.id.clone(), ended: last.ended.clone() });
    } else {
        ui::say(&format!(
            "nothing has changed in {} since run {}: its results stand, and no cluster was started",
            last.input, last.id
        ));
    }
    Ok(())
}

/// A run whose command was killed goes on on its cluster: two over one output would mix.
pub async fn no_other_run(names: &Names, bucket: &str, output: &str, aws: &Aws) -> Result<()> {
    for entry in history::all(bucket, aws).await? {
        if entry.output != output || entry.state != "running" {
            continue;
        }
        let step = if entry.step.is_empty() {
            // Killed before it knew its step, or before there was one.
            let mut found = None;
            for cluster in cluster::living(names, aws).await? {
                found = found.or(submit::find(&cluster.id, &run::step_name(&entry.id), aws).await?);
            }
            found
        } else {
            aws.step(&entry.cluster, &entry.step).await?
        };
        if let Some(step) = step.filter(|step| !step.has_ended()) {
            return Err(Error::new(
                Kind::Locked,
                format!(
                    "run {} of {} is still at work on {}: step {}",
                    entry.id, entry.owner, entry.output, step.id
                ),
            )
            .next("wait for it (fruitctl status), or end it: fruitctl down"));
        }
    }
    Ok(())
}

/// Makes what a cluster needs, if something is missing; and, to be kept, a cluster. The id of the one to be used.
async fn prepare(
    config: &Config,
    spec: &Spec,
    request: &Request,
    aws: &Arc<Aws>,
    lock_args: &LockArgs,
    steps: &Steps,
) -> Result<Option<String>> {
    let work = async {
        let (plan, _, observed) = plan::make(config, spec, aws).await?;
        let standing = observed.clusters.iter().find(|c| cluster::is_standing(c)).map(|c| c.id.clone());
        let part = if request.keep && standing.is_none() { Part::All } else { Part::ButCluster };
        let made =
            stack::apply(part, spec, &observed, &plan, aws, &|change, state| steps.report(change, state))
                .await?;
        for note in &plan.notes {
            ui::note(note);
        }
        Ok(standing.or(Some(made).filter(|id| !id.is_empty())).filter(|_| !request.one_shot))
    };
    cloud::locked(aws, &spec.bucket.name, &lock::Name::stack(), "run", lock_args, work).await
}

/// Puts the step on the cluster that is there; or, where there is none or it is just ending, on one for this run alone.
async fn place(
    spec: &Spec,
    entry: &mut history::Entry,
    step: &mut StepSpec,
    aws: &Aws,
    steps: &Steps,
) -> Result<()> {
    if !entry.cluster.is_empty() {
        match submit::add(&entry.cluster, step, aws).await {
            Ok(id) => entry.step = id,
            Err(error) if error.message.contains("may not be modified") => entry.cluster.clear(),
            Err(error) => return Err(error),
        }
    }
    if entry.cluster.is_empty() {
        (entry.one_shot, step.is_last) = (true, true);
        steps.state("a cluster", "is being asked for");
        entry.cluster = cluster::start(spec, Some((&entry.id, step.clone())), aws).await?;
        steps.done("a cluster");
        entry.step = submit::find(&entry.cluster, &step.name, aws).await?.map(|s| s.id).unwrap_or_default();
    }
    history::put(entry, &spec.bucket.name, aws).await
}

/// Stopped while a cluster or a step was being asked for, it may be there all the same: AWS takes a call whose caller
/// went away, and lists lag behind.
async fn find_what_was_asked_for(
    spec: &Spec,
    entry: &mut history::Entry,
    step: &StepSpec,
    aws: &Aws,
) -> Result<()> {
    let (id, mut cluster) = (entry.id.clone(), entry.cluster.clone());
    let unknown =
        |e: Error| e.left(format!("perhaps a cluster of run {id} in {}", aws.region)).next("fruitctl down");
    for attempt in 0..3 {
        if cluster.is_empty() {
            if attempt > 0 {
                clock::sleep(5.0).await;
            }
            cluster = cluster::of_run(&spec.names, &id, aws).await.map_err(unknown)?.unwrap_or_default();
        }
    }
    if !cluster.is_empty() && entry.step.is_empty() {
        // Without its step, a cluster can still be ended.
        let found = submit::find(&cluster, &step.name, aws).await.ok().flatten();
        entry.step = found.map(|step| step.id).unwrap_or_default();
    }
    entry.cluster = cluster;
    Ok(())
}

/// Watches, and shows how it goes.
#[expect(clippy::too_many_arguments, reason = "the parts of one pipeline")]
async fn follow(
    spec: &Spec,
    request: &Request,
    entry: &history::Entry,
    prices: &Prices,
    heard: &Mutex<Heard>,
    aws: &Aws,
    steps: &Steps,
    json: bool,
) -> Result<Ended> {
    let id = &entry.cluster;
    let progress = Progress::new();
    let started = std::sync::Once::new();
    let sink = |stream: Stream, line: &str| hear(stream, line, heard, &progress, json);
    let watch = Watch {
        aws,
        spec,
        cluster: id,
        step: &entry.step,
        no_ssh: request.no_ssh,
        // The node stops by itself first; we only if it does not.
        deadline: clock::now() + (request.max_seconds as f64 * clock::pace()) as i64 + 1800,
        max_cost: request.max_cost,
        prices,
        state: &|cluster, step| {
            if step == "RUNNING" {
                started.call_once(|| {
                    steps.clear();
                    steps.done("the step runs");
                })
            } else {
                steps.state(
                    &format!("cluster {id}"),
                    &format!("{}, step {}", cluster.to_lowercase(), step.to_lowercase()),
                )
            }
        },
        warn: &|text| progress.event(&Event::Warning { message: text.to_owned() }),
    };
    watch.run(&sink).await
}

/// One line of the step; `true` after the last event.
fn hear(stream: Stream, line: &str, heard: &Mutex<Heard>, progress: &Progress, json: bool) -> bool {
    let mut heard = heard.lock().unwrap_or_else(|broken| broken.into_inner());
    match (stream, serde_json::from_str::<Event>(line)) {
        (Stream::Out, Ok(event)) => {
            // The last event is ours: when the results have been checked, or the failure is explained.
            if json && !matches!(event, Event::Finished { .. } | Event::Failed { .. }) {
                ui::say(line);
            }
            match event {
                Event::Finished { .. } => return true,
                Event::Failed { message, exit_code } => {
                    heard.failure = Some((message, exit_code));
                    return true;
                }
                event if !json => progress.event(&event),
                _ => {}
            }
        }
        (Stream::Out, Err(_)) => {
            if json {
                ui::note(line)
            } else {
                ui::say(line)
            }
        }
        // What Spark has to say of its own doings is in the logs.
        (Stream::Err, _) if line.contains(" INFO ") => {}
        (Stream::Err, _) => {
            ui::note(line);
            heard.stderr.push_back(line.to_owned());
            if heard.stderr.len() > REMEMBERED {
                heard.stderr.pop_front();
            }
        }
    }
    false
}

/// Whether it worked; if not, why.
async fn verdict(spec: &Spec, ended: &Ended, heard: &Mutex<Heard>, aws: &Aws) -> Result<()> {
    let (failure, stderr) = {
        let heard = heard.lock().unwrap_or_else(|broken| broken.into_inner());
        (heard.failure.clone(), heard.stderr.iter().cloned().collect::<Vec<_>>())
    };
    if ended.step.state == "COMPLETED" {
        return Ok(());
    }
    let logs = run::step_logs(&spec.bucket.name, &ended.cluster.id, &ended.step.id);
    Err(explain::step(&ended.step, &ended.cluster, failure, &stderr, &logs, aws).await)
}

/// Ends step and cluster; what is left, in a sentence.
async fn end(
    id: &str,
    step: &str,
    cancel: bool,
    keep: bool,
    hasty: bool,
    aws: &Aws,
    steps: &Steps,
) -> Result<String> {
    let left = |e: Error| {
        Error { kind: Kind::LeftBehind, ..e }
            .left(format!("cluster {id} in {}, which costs money every hour", aws.region))
            .next("fruitctl down")
    };
    if id.is_empty() {
        return Ok("no cluster was started".into());
    }
    if cancel && !step.is_empty() {
        // What cannot be cancelled ends with its cluster.
        let _ = aws.cancel_step(id, step).await;
    }
    if keep {
        return Ok(format!("cluster {id} is kept; fruitctl down ends it"));
    }
    let Some(found) = aws.describe_cluster(id).await.map_err(|e| left(e.into()))? else {
        return Ok(String::new());
    };
    cluster::terminate(&found, aws).await.map_err(left)?;
    if !hasty {
        let title = format!("cluster {id}");
        cluster::wait_ended(&[id.to_owned()], aws, &|_, state| steps.state(&title, &state.to_lowercase()))
            .await?;
        steps.clear();
        steps.done(&format!("{title} has ended"));
        return Ok(format!("cluster {id} has ended"));
    }
    Ok(format!("cluster {id} is ending"))
}

/// What the cluster's instances have cost, where all prices are known.
async fn dollars(id: &str, spec: &Spec, prices: &Prices, aws: &Aws) -> Option<f64> {
    let gb = spec.cluster.root_gb + spec.cluster.workforce.iter().filter_map(|w| w.ebs_gb).max().unwrap_or(0);
    let instances = aws.instances(id).await.ok()?;
    let (dollars, unknown) = prices.so_far(&aws.region, &instances, gb);
    unknown.is_empty().then_some(dollars)
}
