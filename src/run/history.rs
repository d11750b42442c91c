//! The history of runs: one object a run in the bucket, written when it begins and when it has ended.

use clap::Parser;
use fruitjob_interface::model::PreprocessingOptions;
use fruitjob_interface::spark::SparkOptions;
use fruitjob_interface::{JobOptions, RunRecord, layout};
use serde::{Deserialize, Serialize};

use crate::aws::Aws;
use crate::aws::s3::Only;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::stack::FailedLaunch;
use crate::stack::bucket::RUNS;

/// A run, as kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Version of this form.
    pub version: u32,
    pub id: String,
    pub state: State,
    pub cluster: String,
    pub step: String,
    /// Clusters that ended before they began, and were followed by another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_launches: Vec<FailedLaunch>,
    /// The cluster was made for it alone.
    pub one_shot: bool,
    /// Where the images are.
    pub input: String,
    /// Where the results are.
    pub output: String,
    /// The job's arguments.
    pub args: Vec<String>,
    /// Who asked for it.
    pub owner: String,
    /// When it was asked for, RFC 3339.
    pub started: String,
    /// When it had ended.
    pub ended: Option<String>,
    /// Images with results.
    pub images: Option<u64>,
    /// Dollars that its instances cost, as far as prices are known.
    pub dollars: Option<f64>,
    /// What there was to read when it began, where that was asked: see `unchanged`.
    pub fingerprint: Option<String>,
    /// The PCA that its results are projected on.
    pub pca: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// How a run is, or how it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has begun, and nobody has written that it ended.
    #[default]
    Running,
    /// With results.
    Done,
    /// Without.
    Failed,
    /// By a signal.
    Stopped,
    /// As a later version says it.
    #[serde(other)]
    Unknown,
}

impl State {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Stopped => "stopped",
            State::Unknown => "unknown",
        }
    }
}

/// The job's flags alone.
#[derive(clap::Parser)]
struct Job {
    #[command(flatten)]
    job: JobOptions,
    #[command(flatten)]
    preprocessing: PreprocessingOptions,
    #[command(flatten)]
    _spark: SparkOptions,
}

impl Entry {
    /// Notes how it ended.
    pub fn end(&mut self, result: &Result<Option<RunRecord>>, dollars: Option<f64>) {
        self.state = match result {
            Ok(_) => State::Done,
            Err(error) if matches!(error.kind, Kind::Interrupted(_)) => State::Stopped,
            Err(_) => State::Failed,
        };
        self.ended = Some(clock::rfc3339(clock::now()));
        self.dollars = dollars;
        self.failure = result.as_ref().err().map(|error| error.message.clone());
        let record = result.as_ref().ok().and_then(Option::as_ref);
        self.images = record.map(|run| run.images.results);
        self.pca = record.and_then(|run| run.pca.as_ref()).map(|pca| pca.id.clone());
    }

    /// Its clusters: those that ended before they began, and the one that it ran on, if there was one.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        let failed = self.failed_launches.iter().map(|launch| launch.cluster.as_str());
        failed.chain([self.cluster.as_str()]).filter(|id| !id.is_empty())
    }

    /// The job that it ran.
    pub fn job(&self) -> Result<(JobOptions, PreprocessingOptions)> {
        let flags = self.args.iter().skip_while(|arg| *arg != "run").cloned();
        Job::try_parse_from(flags)
            .map(|parsed| (parsed.job, parsed.preprocessing))
            .map_err(|e| Error::usage(format!("run {} was made by another version: {}", self.id, e.kind())))
    }
}

/// What the job is to be told of `--pin-pca`: the place of a run's PCA, or what was typed, where no run is called so.
pub async fn pca(pin: &str, bucket: &str, aws: &Aws) -> Result<String> {
    if pin.contains('/') {
        return Ok(pin.to_owned());
    }
    let Some(entry) = all(bucket, aws).await?.into_iter().find(|entry| entry.id.starts_with(pin)) else {
        return Ok(pin.to_owned());
    };
    match entry.pca {
        Some(id) => Ok(format!("{}/{}", entry.output.trim_end_matches('/'), layout::pca(&id))),
        None => Err(Error::usage(format!(
            "run {} is {} and left no PCA to project on",
            entry.id,
            entry.state.name()
        ))
        .help("fruitctl runs")),
    }
}

fn key(id: &str) -> String {
    format!("{RUNS}{id}.json")
}

/// Writes it.
pub async fn put(entry: &Entry, bucket: &str, aws: &Aws) -> Result<()> {
    let body = serde_json::to_vec_pretty(entry).expect("an entry is JSON");
    aws.put_object(bucket, &key(&entry.id), &body, Only::Always).await?;
    Ok(())
}

/// All of them, the latest first.
pub async fn all(bucket: &str, aws: &Aws) -> Result<Vec<Entry>> {
    let mut keys: Vec<_> = aws.list_objects(bucket, RUNS).await?.into_iter().map(|o| o.key).collect();
    keys.sort_unstable_by(|a, b| b.cmp(a));
    let mut entries = Vec::new();
    for key in keys.iter().take(100) {
        if let Some((body, _)) = aws.get_object(bucket, key).await?
            && let Ok(entry) = serde_json::from_slice(&body)
        {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// One of them: by its id or how that begins; the latest without.
pub async fn find(id: Option<&str>, bucket: &str, aws: &Aws) -> Result<Entry> {
    let mut found =
        all(bucket, aws).await?.into_iter().filter(|entry| id.is_none_or(|id| entry.id.starts_with(id)));
    found.next().ok_or_else(|| {
        let what = id.map_or("there is no run yet".to_owned(), |id| format!("there is no run {id}"));
        Error::usage(what).help("fruitctl runs")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let mut entry = Entry { version: 1, id: "20261124-020000-4f2a".into(), ..Entry::default() };
        for (result, state) in [
            (Ok(None), State::Done),
            (Err(Error::new(Kind::Interrupted(15), "interrupted")), State::Stopped),
            (Err(Error::new(Kind::Failed, "no image").help("fruitctl upload")), State::Failed),
        ] {
            entry.end(&result, Some(1.5));
            assert_eq!((entry.state, entry.dollars), (state, Some(1.5)));
            let text = serde_json::to_string(&entry).unwrap();
            assert!(text.contains(&format!("\"state\":\"{}\"", state.name())), "{text}");
            assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
        }
        assert_eq!(entry.failure.as_deref(), Some("no image"));
    }

    /// What an earlier version wrote has fewer fields.
    #[test]
    fn an_old_entry_is_read() {
        let entry: Entry =
            serde_json::from_str(r#"{"version":1,"id":"a","state":"failed","step":""}"#).unwrap();
        assert_eq!((entry.state, entry.pca, entry.fingerprint), (State::Failed, None, None));
        let entry: Entry = serde_json::from_str(r#"{"state":"paused"}"#).unwrap();
        assert_eq!(entry.state, State::Unknown);
    }

    #[test]
    fn the_job_is_read_from_the_arguments_of_the_step() {
        let args =
            ["eu-west-3", "s3://b/fruitjob", "abc", "43200", "run", "--input=s3://b/in", "--components=7"];
        let entry = Entry { args: args.map(str::to_owned).into(), ..Entry::default() };
        let (job, _) = entry.job().unwrap();
        assert_eq!((job.input.as_deref(), job.components), (Some("s3://b/in"), std::num::NonZero::new(7)));
        let entry = Entry { args: vec!["run".into(), "--ripeness=7".into()], ..entry };
        assert!(entry.job().unwrap_err().to_string().contains("another version"));
    }
}
