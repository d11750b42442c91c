//! One run over one output: the stages in order, what they share, and what they report.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::engine::{Batch, Engine, Threads};
use crate::error::{Error, Result};
use crate::event::{self, Event, Observer, Stage};
use crate::fit::Pca;
use crate::job::{Job, MaxRejects};
use crate::listing::{Entry, Listed, Order};
use crate::manifest::{Manifest, ManifestWriter};
use crate::model::Model;
use crate::record::{RunRecord, StageRecord};
use crate::storage::{Input, Location, Output};
use crate::{count, engine, featurize, fit, layout, listing, model, pin, project, report, since};

/// How often progress is reported.
const TICK: Duration = Duration::from_millis(200);

/// What a job needs of the process that it runs in.
#[derive(Clone)]
pub struct Context {
    /// Serves the object store.
    pub runtime: Handle,
    /// Hears the events.
    pub observer: Arc<dyn Observer>,
    /// Number of the signal that asked us to stop, or 0.
    interrupted: Arc<AtomicI32>,
}

impl Context {
    /// A context that nothing interrupts.
    pub fn new(runtime: Handle, observer: Arc<dyn Observer>) -> Self {
        Context { runtime, observer, interrupted: Arc::default() }
    }

    /// Stops the job at the next image after SIGINT, SIGTERM or SIGHUP; a second one ends the process.
    pub fn stop_on_signals(&self) -> Result<()> {
        let _guard = self.runtime.enter();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals = signal(kind).map_err(|e| Error::io("cannot listen to signals", e))?;
            let interrupted = self.interrupted.clone();
            self.runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    if interrupted.swap(kind.as_raw_value(), Ordering::Relaxed) != 0 {
                        std::process::exit(128 + kind.as_raw_value());
                    }
                }
            });
        }
        Ok(())
    }

    /// # Errors
    /// [`Error::Interrupted`] after a signal.
    pub fn check(&self) -> Result<()> {
        match self.interrupted.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Error::Interrupted(signal)),
        }
    }
}

/// Progress of a stage, counted by its workers.
#[derive(Default)]
pub struct Counters {
    done: AtomicU64,
    cached: AtomicU64,
    rejected: AtomicU64,
    bytes: AtomicU64,
    unreadable: AtomicU64,
}

impl Counters {
    /// Units done.
    pub fn done(&self, n: u64) {
        self.done.fetch_add(n, Ordering::Relaxed);
    }

    /// Units that needed no work.
    pub fn cached(&self, n: u64) {
        self.cached.fetch_add(n, Ordering::Relaxed);
        self.done(n);
    }

    /// Units done that were rejected.
    pub fn rejected(&self, n: u64) {
        self.rejected.fetch_add(n, Ordering::Relaxed);
    }

    /// One more image that cannot be read; returns how many there are.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Bytes read.
    pub fn read(&self, n: u64) {
        self.bytes.fetch_add(n, Ordering::Relaxed);
    }

    /// Units done.
    pub fn so_far(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Sets the units done.
    pub fn at(&self, n: u64) {
        self.done.store(n, Ordering::Relaxed);
    }
}

/// What tasks work with; shared by all threads of a process.
pub struct Worker {
    pub(crate) input: Option<Input>,
    pub(crate) output: Output,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) model: Arc<Model>,
    pub(crate) context: Context,
    pub(crate) counters: Arc<Counters>,
    pub(crate) max_rejects: MaxRejects,
    pca: OnceLock<Arc<Pca>>,
}

impl Worker {
    /// What a process needs that only runs tasks, on what the list stage left.
    pub(crate) fn open(job: &Job, context: Context) -> Result<Self> {
        let output = Output::open(&job.output, context.runtime.clone())?;
        Ok(Worker {
            input: job.input.as_ref().map(Input::open).transpose()?,
            manifest: Arc::new(Manifest::load(&output)?),
            model: Arc::new(Model::load(&job.model, &job.preprocessing, job.precision, &context.runtime)?),
            output,
            context,
            counters: Arc::default(),
            max_rejects: job.max_rejects,
            pca: OnceLock::new(),
        })
    }

    /// The PCA that the fit stage left.
    pub(crate) fn pca(&self) -> Result<Arc<Pca>> {
        if let Some(pca) = self.pca.get() {
            return Ok(pca.clone());
        }
        let pca = Arc::new(Pca::load(&self.output, layout::STAGED_MODEL)?);
        Ok(self.pca.get_or_init(|| pca).clone())
    }
}

/// A run.
pub struct Session {
    /// What was asked for.
    pub job: Job,
    /// Where the results go.
    pub output: Output,
    /// The process.
    pub context: Context,
    /// What has been done.
    pub record: RunRecord,
    pub(crate) counters: Arc<Counters>,
    engine: Box<dyn Engine>,
    manifest: Option<Arc<Manifest>>,
    model: Option<Arc<Model>>,
    ticker: Option<Ticker>,
    _lock: Option<File>,
}

impl Session {
    /// Opens the output, and locks it when it is a directory. Threads of this process will work.
    ///
    /// # Errors
    /// [`Error::Locked`] when another run is writing there.
    pub fn open(job: Job, context: Context) -> Result<Self> {
        let engine = Threads(job.threads);
        Session::with_engine(job, context, Box::new(engine))
    }

    /// [`Session::open`], with something else to work.
    pub fn with_engine(job: Job, context: Context, engine: Box<dyn Engine>) -> Result<Self> {
        let output = Output::open(&job.output, context.runtime.clone())?;
        let lock = lock(&job.output)?;
        Ok(Session {
            job,
            output,
            context,
            record: RunRecord::default(),
            counters: Arc::default(),
            engine,
            manifest: None,
            model: None,
            ticker: None,
            _lock: lock,
        })
    }

    /// Runs all stages.
    pub fn run(&mut self) -> Result<()> {
        // First of all, for it needs no work: is there an input, and a model?
        self.input()?;
        let model = self.model()?;
        self.pinned()?;
        self.announce(&model.name, Some(&model));
        for stage in Stage::ALL {
            self.run_stage(stage)?;
        }
        self.context.observer.event(&Event::Finished { run: Box::new(self.record.clone()) });
        Ok(())
    }

    /// Runs one stage, on what the earlier ones left in the output.
    pub fn run_one(&mut self, stage: Stage) -> Result<()> {
        if stage != Stage::List {
            self.record = self
                .output
                .get(layout::RECORD)?
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .ok_or_else(|| self.output.missing(layout::RECORD, "list"))?;
        }
        let model = (stage == Stage::Featurize).then(|| self.model()).transpose()?;
        self.announce(&model::display_name(&self.job.model), model.as_deref());
        self.run_stage(stage)?;
        self.context.observer.event(&Event::Finished { run: Box::new(self.record.clone()) });
        Ok(())
    }

    fn announce(&self, name: &str, model: Option<&Model>) {
        let input = self.job.input.as_ref().map(Location::to_string);
        self.context.observer.event(&Event::Started {
            version: event::VERSION,
            input: input.unwrap_or_else(|| self.record.input.clone()),
            output: self.job.output.to_string(),
            model: name.to_owned(),
            engine: model.map(|m| m.backbone.engine().to_owned()),
            not_fast: model.and_then(|m| m.not_fast.clone()),
            threads: self.engine.slots(),
        });
    }

    fn run_stage(&mut self, stage: Stage) -> Result<()> {
        self.context.check()?;
        let start = Instant::now();
        let result = match stage {
            Stage::List => self.list(),
            Stage::Featurize => featurize::stage(self),
            Stage::Fit => fit::stage(self),
            Stage::Project => project::stage(self),
            Stage::Report => report::stage(self),
        };
        self.ticker = None;
        let message = result?;
        let seconds = start.elapsed().as_secs_f64();
        self.record.stages.retain(|s| s.stage < stage);
        self.record.stages.push(StageRecord { stage, seconds });
        self.record.spark = self.engine.spark();
        let json = serde_json::to_vec_pretty(&self.record).expect("plain data");
        self.output.put(layout::RECORD, json.clone())?;
        if stage == Stage::Report {
            report::publish(self, json)?;
            report::collect_garbage(self)?;
        }
        self.context.observer.event(&Event::StageFinished { stage, seconds, message });
        Ok(())
    }

    fn list(&mut self) -> Result<String> {
        let input = self.input()?;
        self.record = RunRecord {
            format: 1,
            version: env!("CARGO_PKG_VERSION").into(),
            started: now(),
            input: input.location.to_string(),
            output: self.job.output.to_string(),
            threads: self.engine.slots(),
            ..Default::default()
        };
        for name in self.output.list(layout::STAGING)? {
            self.output.delete(&name)?;
        }
        self.begin(Stage::List, None, "images");
        let mut listed = self.write_manifest(&input, Order::Found)?;
        if !listed.in_order {
            listed = self.write_manifest(&input, Order::Sorted)?;
        }
        listed.warnings.into_iter().for_each(|warning| self.warn(warning));
        self.manifest = None;
        let manifest = self.manifest()?;
        let since = since::listed(&self.output, &manifest);
        self.record.since = self.if_told(since)?.flatten();
        let images = &self.record.images;
        Ok(format!(
            "{} of {}, {:.1} MB, in {}",
            count(images.listed, "image"),
            count(images.labels, "label"),
            images.listed_bytes as f64 / 1e6,
            count(manifest.partitions.len() as u64, "partition")
        ))
    }

    fn write_manifest(&mut self, input: &Input, order: Order) -> Result<Listed> {
        let mut manifest = ManifestWriter::new(&self.output, &self.record.input)?;
        let mut labels = BTreeSet::new();
        let (mut images, mut bytes) = (0, 0);
        let add = |entry: Entry| {
            (images, bytes) = (images + 1, bytes + entry.size);
            if !labels.contains(&entry.label) {
                labels.insert(entry.label.clone());
            }
            self.counters.at(images);
            manifest.add(entry)
        };
        let listed = listing::list(input, &self.job.output, &self.context, order, add);
        match &listed {
            Ok(listed) if listed.in_order => manifest.finish()?,
            // Nobody shall take it for a listing, should we end before there is one.
            _ => manifest.abandon(),
        };
        let listed = listed?;
        let counts = &mut self.record.images;
        (counts.listed, counts.labels, counts.listed_bytes) = (images, labels.len() as u64, bytes);
        Ok(listed)
    }

    /// The input, opened.
    pub(crate) fn input(&self) -> Result<Input> {
        let location = self
            .job
            .input
            .as_ref()
            .ok_or_else(|| Error::Usage("no input; say where the images are with --input DIR".into()))?;
        Input::open(location)
    }

    /// The listing that the list stage left.
    pub(crate) fn manifest(&mut self) -> Result<Arc<Manifest>> {
        if self.manifest.is_none() {
            let manifest = Manifest::load(&self.output)?;
            if let Some(input) = &self.job.input
                && input.to_string() != manifest.input
            {
                return Err(Error::Usage(format!(
                    "the output holds a listing of {}, not of {input}; run 'fruitjob list' first",
                    manifest.input
                )));
            }
            self.manifest = Some(Arc::new(manifest));
        }
        Ok(self.manifest.clone().expect("just set"))
    }

    /// The backbone, compiled.
    pub(crate) fn model(&mut self) -> Result<Arc<Model>> {
        if self.model.is_none() {
            let job = &self.job;
            let model = Model::load(&job.model, &job.preprocessing, job.precision, &self.context.runtime)?;
            self.model = Some(Arc::new(model));
        }
        Ok(self.model.clone().expect("just set"))
    }

    /// Notes the model in the record.
    pub(crate) fn record_model(&mut self) -> Result<Arc<Model>> {
        let model = self.model()?;
        self.record.model = Some(model.record());
        Ok(model)
    }

    /// The PCA of an earlier run, where one is asked for.
    pub(crate) fn pinned(&mut self) -> Result<Option<Pca>> {
        let Some(pin) = self.job.pin_pca.clone() else { return Ok(None) };
        let model = self.model()?.record();
        pin::find(&pin, &self.output, &model, &self.context).map(Some)
    }

    /// Whether the engine wants to know how long tasks take.
    pub(crate) fn asks(&self) -> bool {
        self.engine.asks()
    }

    /// Runs tasks.
    pub(crate) fn map(&mut self, batch: Batch) -> Result<Vec<engine::Done>> {
        let worker = self.worker()?;
        self.engine.map(&worker, batch)
    }

    /// What tasks work with, here.
    pub(crate) fn worker(&mut self) -> Result<Worker> {
        Ok(Worker {
            input: self.job.input.is_some().then(|| self.input()).transpose()?,
            output: self.output.clone(),
            manifest: self.manifest()?,
            model: self.model()?,
            context: self.context.clone(),
            counters: self.counters.clone(),
            max_rejects: self.job.max_rejects,
            pca: OnceLock::new(),
        })
    }

    /// Begins to count, and to report the count.
    pub(crate) fn begin(&mut self, stage: Stage, total: Option<u64>, unit: &str) {
        self.counters = Arc::default();
        self.context.observer.event(&Event::StageStarted { stage, total, unit: unit.into() });
        self.ticker = Some(Ticker::start(stage, total, self.counters.clone(), self.context.observer.clone()));
    }

    /// What could be found out about the last results; where it could not, a warning. A run does not fail for them.
    pub(crate) fn if_told<T>(&mut self, told: Result<T>) -> Result<Option<T>> {
        match told {
            Ok(told) => Ok(Some(told)),
            Err(error @ Error::Interrupted(_)) => Err(error),
            Err(error) => {
                self.warn(format!("what changed since the last results cannot be told: {error}"));
                Ok(None)
            }
        }
    }

    /// Tells a person something.
    pub(crate) fn warn(&mut self, message: String) {
        self.context.observer.event(&Event::Warning { message: message.clone() });
        self.record.warnings.push(message);
    }
}

/// This moment, RFC 3339, UTC.
pub(crate) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Takes the lock of a directory: the kernel gives it back however we end. An object store has none; who runs
/// jobs there keeps them apart.
pub(crate) fn lock(output: &Location) -> Result<Option<File>> {
    let Location::Local(dir) = output else { return Ok(None) };
    let failed = |e| Error::io(&format!("cannot write to {}", dir.display()), e);
    let path = dir.join(layout::LOCK);
    std::fs::create_dir_all(path.parent().expect("it has one")).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            return Err(Error::Locked(format!(
                "another run is writing to {}; wait for it, or name another --output",
                dir.display()
            )));
        }
        Err(std::fs::TryLockError::Error(e)) => return Err(failed(e)),
    }
    sweep(dir);
    Ok(Some(file))
}

/// Deletes what a killed run left half written: `object_store` writes to `NAME#N`, then renames.
fn sweep(dir: &std::path::Path) {
    for entry in walkdir::WalkDir::new(dir.join(layout::WORK)).into_iter().flatten() {
        let name = entry.file_name().to_string_lossy();
        if name.rsplit_once('#').is_some_and(|(_, n)| n.bytes().all(|b| b.is_ascii_digit())) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Reports a stage's counters until it is dropped, and once then.
struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(stage: Stage, total: Option<u64>, counters: Arc<Counters>, observer: Arc<dyn Observer>) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let report = move || {
            observer.event(&Event::Progress {
                stage,
                done: load(&counters.done),
                total,
                cached: load(&counters.cached),
                rejected: load(&counters.rejected),
                bytes: load(&counters.bytes),
            })
        };
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                report();
            }
            report();
        });
        Ticker { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
