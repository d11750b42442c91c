//! The driver's state of one run: what the stages share, what they have done, and what they report.

use std::sync::{Arc, OnceLock};

use fruitjob_interface::record::{RunRecord, SparkRecord};
use fruitjob_interface::{Event, Stage};

use super::worker::{Worker, load_model};
use crate::artifacts::manifest::Manifest;
use crate::artifacts::pcas;
use crate::error::{Error, Result};
use crate::exec::context::Context;
use crate::exec::progress::{Counters, Ticker};
use crate::exec::{Batch, Done, Engine, Task};
use crate::job::Job;
use crate::model::{Model, source};
use crate::pca::Pca;
use crate::storage::{Input, Output};

/// The function that does a task: [`stages::execute`](super::execute).
pub(crate) type Execute = fn(&Worker, &Task) -> Result<Done>;

/// A run: what was asked for, what it works with, and how far it is.
pub(crate) struct Run {
    pub job: Job,
    pub output: Output,
    pub context: Context,
    /// What has been done; each stage fills in its part.
    pub record: RunRecord,
    /// Of the stage that is running.
    pub counters: Arc<Counters>,
    engine: Box<dyn Engine>,
    execute: Execute,
    manifest: Option<Arc<Manifest>>,
    model: Option<Arc<Model>>,
    ticker: Option<Ticker>,
}

impl Run {
    /// A run of which nothing is done; the engine has its tasks done by `execute`.
    pub fn new(
        job: Job,
        output: Output,
        context: Context,
        engine: Box<dyn Engine>,
        execute: Execute,
    ) -> Self {
        Run {
            job,
            output,
            context,
            record: RunRecord::default(),
            counters: Arc::default(),
            engine,
            execute,
            manifest: None,
            model: None,
            ticker: None,
        }
    }

    /// Opens the input.
    ///
    /// # Errors
    /// [`Error::Usage`] when none is named, or it is not there.
    pub fn input(&self) -> Result<Input> {
        let location = self
            .job
            .input
            .as_ref()
            .ok_or_else(|| Error::Usage("no input; say where the images are with --input DIR".into()))?;
        Input::open(location)
    }

    /// The listing that the list stage left; read once.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is none, or it is of another input.
    pub fn manifest(&mut self) -> Result<Arc<Manifest>> {
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

    /// The listing, after it was written anew.
    pub fn reload_manifest(&mut self) -> Result<Arc<Manifest>> {
        self.manifest = None;
        self.manifest()
    }

    /// The backbone; compiled once.
    pub fn model(&mut self) -> Result<Arc<Model>> {
        if self.model.is_none() {
            self.model = Some(Arc::new(load_model(&self.job, &self.output, &self.context)?));
        }
        Ok(self.model.clone().expect("just set"))
    }

    /// Notes the model in the record; warns where it is not the one that the name stands for today.
    pub fn record_model(&mut self) -> Result<Arc<Model>> {
        let model = self.model()?;
        self.record.model = Some(model.record());
        let asked = source::display_name(&self.job.model);
        if model.name != asked {
            self.warn(format!(
                "the pinned PCA is of {0}, and {asked} is another model by now: this run goes on with {0}; --model {0} says so for \
                 good; to move to the {asked} of today, leave out --pin-pca once, and pin the new PCA from then on",
                model.name
            ));
        }
        Ok(model)
    }

    /// The PCA of an earlier run, where one is asked for.
    pub fn pinned(&mut self) -> Result<Option<Pca>> {
        let Some(pin) = self.job.pin_pca.clone() else { return Ok(None) };
        let model = self.model()?.record();
        pcas::find(&pin, &self.output, &model, &self.context.runtime).map(Some)
    }

    /// Tasks that run at once.
    pub fn slots(&self) -> usize {
        self.engine.slots()
    }

    /// Whether the engine wants to know how long tasks take.
    pub fn wants_costs(&self) -> bool {
        self.engine.wants_costs()
    }

    /// What there is to tell of Spark, if it runs the tasks.
    pub fn spark(&self) -> Option<SparkRecord> {
        self.engine.spark()
    }

    /// Has tasks done by the engine; their results in the order of the tasks.
    pub fn map(&mut self, batch: Batch) -> Result<Vec<Done>> {
        let (worker, execute) = (self.worker()?, self.execute);
        self.engine.map(&|task| execute(&worker, task), &self.context, &self.counters, batch)
    }

    /// What tasks work with in this process.
    pub fn worker(&mut self) -> Result<Worker> {
        Ok(Worker {
            input: self.job.input.is_some().then(|| self.input()).transpose()?,
            output: self.output.clone(),
            manifest: self.manifest()?,
            model: self.model()?,
            context: self.context.clone(),
            counters: self.counters.clone(),
            max_rejects: self.job.max_rejects,
            max_pixels: self.job.max_pixels,
            pca: OnceLock::new(),
        })
    }

    /// Begins to count, and to report the count until [`Run::end`].
    pub fn begin(&mut self, stage: Stage, total: Option<u64>, unit: &str) {
        self.counters = Arc::default();
        self.context.observer.event(&Event::StageStarted { stage, total, unit: unit.into() });
        self.ticker = Some(Ticker::start(stage, total, self.counters.clone(), self.context.observer.clone()));
    }

    /// Reports the count for the last time.
    pub fn end(&mut self) {
        self.ticker = None;
    }

    /// The outcome of a comparison with the last results; where it failed, a warning and `None`, for a run does not fail for
    /// what came before it. Only an interruption stays an error.
    pub fn or_warn<T>(&mut self, compared: Result<T>) -> Result<Option<T>> {
        match compared {
            Ok(compared) => Ok(Some(compared)),
            Err(error @ Error::Interrupted(_)) => Err(error),
            Err(error) => {
                self.warn(format!("what changed since the last results cannot be told: {error}"));
                Ok(None)
            }
        }
    }

    /// Warns a person, now and in the record.
    pub fn warn(&mut self, message: String) {
        self.context.observer.event(&Event::Warning { message: message.clone() });
        self.record.warnings.push(message);
    }
}
