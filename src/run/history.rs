//! The history of runs: one object a run in the bucket, written when it begins and when it has ended.

use clap::Parser;
use fruitjob_interface::model::PreprocessingOptions;
use fruitjob_interface::spark::SparkOptions;
use fruitjob_interface::{JobOptions, RunRecord, layout};
use serde::{Deserialize, Serialize};

use super::collect::Published;
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
    /// What it ran; see [`Entry::work`]. As it is kept: an option that this version does not know makes it unknown, and not
    /// the run.
    pub(super) work: Option<serde_json::Value>,
    /// The step's arguments, which say the same in version 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<String>,
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
    /// Images a second and vCPU of the featurize stage, where it featurized enough to say so.
    pub images_per_vcpu: Option<f64>,
    /// Seconds from the command's start until its own cluster ran the step.
    pub start_seconds: Option<f64>,
    /// What there was to read when it began, where that was asked: see `unchanged`.
    pub fingerprint: Option<String>,
    /// The PCA that its results are projected on.
    pub pca: Option<String>,
    /// SHA-256 of the `run.json` of its results: whether they are still there.
    pub results: Option<String>,
    /// The same of the results that lay there when it began, as far as they could be seen.
    pub before: Option<String>,
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

/// The version of an entry that is written.
const VERSION: u32 = 2;

/// What a run ran: all that its results depend on besides the images.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// The executable that was shipped, by its content.
    pub executable: String,
    /// The job; its model is where the nodes find it.
    pub job: JobOptions,
    /// What the model's file does not say.
    pub preprocessing: PreprocessingOptions,
}

impl Work {
    /// Whether the results are the same: neither how many threads nor what runs them changes any.
    pub fn gives_the_same_as(&self, other: &Work) -> bool {
        let results = |work: &Work| {
            let job = JobOptions { engine: None, threads: None, ..work.job.clone() };
            Work { job, ..work.clone() }
        };
        results(self) == results(other)
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
    /// Notes how fast it was: when its step began, in seconds since 1970, and how many vCPUs worked.
    pub fn measure(&mut self, began: Option<i64>, vcpus: u32, record: Option<&RunRecord>) {
        /// Fewer images say more of the start than of the pace.
        const ENOUGH: u64 = 1000;
        let rate =
            record.filter(|run| run.images.featurized >= ENOUGH).and_then(RunRecord::images_per_second);
        self.images_per_vcpu = rate.map(|rate| rate / f64::from(vcpus.max(1)));
        let waited = began.zip(clock::parse(&self.started)).map(|(began, asked)| (began - asked) as f64);
        self.start_seconds = waited.filter(|_| self.one_shot && self.failed_launches.is_empty());
    }

    /// Notes how it ended: with results, as far as they could be looked at, or why without.
    pub fn end(&mut self, result: Result<Option<&Published>, &Error>, dollars: Option<f64>) {
        self.state = match result {
            Ok(_) => State::Done,
            Err(error) if matches!(error.kind, Kind::Interrupted(_)) => State::Stopped,
            Err(_) => State::Failed,
        };
        self.ended = Some(clock::rfc3339(clock::now()));
        self.dollars = dollars;
        self.failure = result.err().map(|error| error.message.clone());
        let published = result.ok().flatten();
        let record = published.map(|found| &found.record);
        self.images = record.map(|run| run.images.results);
        self.pca = record.and_then(|run| run.pca.as_ref()).map(|pca| pca.id.clone());
        self.results = published.map(|found| found.sha256.clone());
    }

    /// Its clusters: those that ended before they began, and the one that it ran on, if there was one.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        let failed = self.failed_launches.iter().map(|launch| launch.cluster.as_str());
        failed.chain([self.cluster.as_str()]).filter(|id| !id.is_empty())
    }

    /// Whether its results are in this place, as locks take it.
    pub fn shares_output(&self, output: &str) -> bool {
        self.output.trim_end_matches('/') == output.trim_end_matches('/')
    }

    /// An entry of a run that is about to begin.
    pub fn of(work: Work) -> Entry {
        let work = serde_json::to_value(work).expect("work is JSON");
        Entry { version: VERSION, work: Some(work), ..Entry::default() }
    }

    /// What it ran.
    ///
    /// # Errors
    /// [`Kind::Usage`] for one that another version wrote in a way that this one does not know.
    pub fn work(&self) -> Result<Work> {
        let unknown = |why: &str| {
            Error::usage(format!("run {} was made by another version: {why}", self.id))
                .help("the fruitctl that made it, or a later one: fruitctl version")
        };
        if let Some(work) = &self.work {
            return Work::deserialize(work).map_err(|e| unknown(&e.to_string()));
        }
        // Version 1: the region, the executable, its hash and the seconds that it may take stand before the job.
        let (before, flags) = self.args.split_at(self.args.iter().take_while(|arg| *arg != "run").count());
        let Some(executable) = before.get(1) else { return Err(unknown("it does not say what it ran")) };
        let Job { job, preprocessing, .. } =
            Job::try_parse_from(flags).map_err(|e| unknown(&e.kind().to_string()))?;
        Ok(Work { executable: executable.clone(), job, preprocessing })
    }
}

/// What the job is to be told of `--pin-pca`: the place of a run's PCA, or what was typed, where no run is called so.
pub async fn pca(pin: &str, bucket: &str, aws: &Aws) -> Result<String> {
    if pin.contains('/') {
        return Ok(pin.to_owned());
    }
    let Some(entry) = by_id(pin, bucket, aws).await? else { return Ok(pin.to_owned()) };
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

/// How many are listed at most.
pub const LISTED: usize = 100;

/// The latest hundred, the latest first.
pub async fn all(bucket: &str, aws: &Aws) -> Result<Vec<Entry>> {
    latest(bucket, LISTED, aws).await
}

/// The latest ones, the latest first.
pub async fn latest(bucket: &str, most: usize, aws: &Aws) -> Result<Vec<Entry>> {
    let mut keys = keys(RUNS, bucket, aws).await?;
    keys.sort_unstable_by(|a, b| b.cmp(a));
    let mut entries = Vec::new();
    for key in keys.iter().take(most) {
        if let Some((body, _)) = aws.get_object(bucket, key).await?
            && let Ok(entry) = serde_json::from_slice(&body)
        {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Keys of entries; without a bucket, there are none.
async fn keys(prefix: &str, bucket: &str, aws: &Aws) -> Result<Vec<String>> {
    match aws.list_objects(bucket, prefix).await {
        Err(error) if error.is(&["NoSuchBucket"]) => Ok(Vec::new()),
        // S3 says the same where the account that owns it is not the one that is expected.
        Err(error) if error.kind() == Kind::Denied => Err(Error::new(
            Kind::Denied,
            format!("bucket {bucket} is another account's, or these credentials may not list it: {error}"),
        )
        .help("where it is yours: fruitctl policy; else set another name under [bucket] in fruitctl.toml")),
        objects => Ok(objects?.into_iter().map(|object| object.key).collect()),
    }
}

/// One of them: by its id or how that begins; the latest without.
pub async fn find(id: Option<&str>, bucket: &str, aws: &Aws) -> Result<Entry> {
    let found = match id {
        Some(id) => by_id(id, bucket, aws).await?,
        None => latest(bucket, 1, aws).await?.pop(),
    };
    found.ok_or_else(|| {
        let what = id.map_or("there is no run yet".to_owned(), |id| format!("there is no run {id}"));
        Error::usage(what).help("fruitctl runs")
    })
}

/// The run whose id begins so, however old it is.
///
/// # Errors
/// [`Kind::Usage`] where there are several.
async fn by_id(id: &str, bucket: &str, aws: &Aws) -> Result<Option<Entry>> {
    let keys = keys(&format!("{RUNS}{id}"), bucket, aws).await?;
    let key = match &keys[..] {
        [] => return Ok(None),
        [one] => one,
        // A name may be the beginning of another.
        several => several.iter().find(|known| **known == key(id)).ok_or_else(|| ambiguous(id, several))?,
    };
    let Some((body, _)) = aws.get_object(bucket, key).await? else { return Ok(None) };
    serde_json::from_slice(&body).map(Some).map_err(|e| {
        Error::new(Kind::Failed, format!("s3://{bucket}/{key} is no entry of the history: {e}"))
            .help("fruitctl runs lists those that are")
    })
}

fn ambiguous(id: &str, keys: &[String]) -> Error {
    let name = |key: &String| key.trim_start_matches(RUNS).trim_end_matches(".json").to_owned();
    let latest: Vec<_> = keys.iter().rev().take(3).map(name).collect();
    let among = latest.join(", ");
    Error::usage(format!("{} runs begin with {id}; the latest are {among}", keys.len()))
        .help("name one by more of its id: fruitctl runs")
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use fruitjob_interface::EngineKind;

    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let mut entry = Entry { version: 1, id: "20261124-020000-4f2a".into(), ..Entry::default() };
        for (result, state) in [
            (Ok(None::<Published>), State::Done),
            (Err(Error::new(Kind::Interrupted(15), "interrupted")), State::Stopped),
            (Err(Error::new(Kind::Failed, "no image").help("fruitctl upload")), State::Failed),
        ] {
            entry.end(result.as_ref().map(Option::as_ref), Some(1.5));
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
    fn what_version_1_ran_is_read_from_the_arguments_of_its_step() {
        let args = [
            "eu-west-3",
            "s3://b/jobs/abc/fruitjob",
            "abc",
            "43200",
            "run",
            "--input=s3://b/in",
            "--components=7",
            "--engine=local",
            "--input-size=64",
        ];
        let text = serde_json::json!({ "version": 1, "id": "a", "state": "done", "args": args }).to_string();
        let entry: Entry = serde_json::from_str(&text).unwrap();
        let work = entry.work().unwrap();
        assert_eq!(work.executable, "s3://b/jobs/abc/fruitjob");
        assert_eq!((work.job.input.as_deref(), work.job.components), (Some("s3://b/in"), NonZero::new(7)));
        assert_eq!(work.preprocessing.input_size, Some(64));
        for args in [vec![], vec!["run".into()], [&entry.args[..], &["--ripeness=7".into()]].concat()] {
            let error = Entry { args, ..entry.clone() }.work().unwrap_err();
            assert!(error.to_string().contains("another version"), "{error}");
        }
    }

    #[test]
    fn what_it_ran_is_kept_as_values() {
        let job = JobOptions {
            output: Some("s3://b/out".into()),
            threads: NonZero::new(3),
            ..JobOptions::default()
        };
        let work = Work { executable: "s3://b/jobs/abc/fruitjob".into(), job, ..Work::default() };
        let text = serde_json::to_string(&Entry::of(work.clone())).unwrap();
        assert!(!text.contains("args"), "{text}");
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap().work().unwrap(), work);
        // A later version's option: the run is seen, and what it ran is not known.
        let later = text.replacen("\"job\":{", "\"job\":{\"ripeness\":7,", 1);
        let entry: Entry = serde_json::from_str(&later).unwrap();
        assert!(entry.work().unwrap_err().to_string().contains("another version"));
    }

    #[test]
    fn results_depend_on_the_job_and_not_on_its_threads() {
        let work = Work::default();
        let with = |change: fn(&mut Work)| {
            let mut other = work.clone();
            change(&mut other);
            work.gives_the_same_as(&other)
        };
        assert!(
            with(|w| w.job.threads = NonZero::new(2)) && with(|w| w.job.engine = Some(EngineKind::Spark))
        );
        assert!(!with(|w| w.job.components = NonZero::new(2)) && !with(|w| w.executable = "x".into()));
        assert!(!with(|w| w.preprocessing.input_size = Some(64)));
    }
}
