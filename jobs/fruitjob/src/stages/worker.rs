//! What tasks work with: input, output and model, and what earlier stages left.

use std::sync::{Arc, OnceLock};

use fruitjob_interface::job::MaxRejects;
use fruitjob_interface::layout;
use fruitjob_interface::model::{DEFAULT, Inside};

use crate::artifacts::manifest::Manifest;
use crate::artifacts::pcas;
use crate::error::{Error, Result};
use crate::exec::context::Context;
use crate::exec::progress::Counters;
use crate::job::Job;
use crate::model::{Model, Reader, inside};
use crate::pca::Pca;
use crate::storage::{Input, Output};

/// What tasks work with; shared by all threads of a process.
pub(crate) struct Worker {
    /// None for a stage that reads no image, where none is named.
    pub input: Option<Input>,
    pub output: Output,
    pub manifest: Arc<Manifest>,
    pub model: Arc<Model>,
    pub context: Context,
    /// Of the stage that is running.
    pub counters: Arc<Counters>,
    /// Images that may be unreadable before the job gives up.
    pub max_rejects: MaxRejects,
    /// The most pixels an image may have.
    pub max_pixels: u64,
    /// Read when it is first needed.
    pub pca: OnceLock<Arc<Pca>>,
}

/// The model of a job; a signal ends the wait for it.
///
/// A job that names none, or `builtin`, and pins a PCA of an earlier `builtin`, goes on with that one: the name stands for
/// another model since, and vectors of both cannot be compared.
pub(super) fn load_model(job: &Job, output: &Output, context: &Context) -> Result<Model> {
    let reader = Reader { runtime: &context.runtime, stopped: &|| context.check() };
    let mut wanted = job.backbone();
    if wanted.name == DEFAULT
        && let Some(pin) = &job.pin_pca
        && let Some(origin) = pcas::origin(pin, output, &context.runtime)?
        && let Some(earlier @ Inside::Builtin1) = inside::of_sha256(&origin.sha256)
    {
        wanted.name = earlier.name();
    }
    Model::read(&wanted, &reader).map_err(|e| match e {
        Error::Usage(why) if wanted.name != job.model => {
            Error::Usage(format!("{why} (the pinned PCA is of {})", wanted.name))
        }
        other => other,
    })
}

impl Worker {
    /// What a process needs that only runs tasks, on what the list stage left.
    pub fn open(job: &Job, context: Context) -> Result<Self> {
        let output = Output::open(&job.output, context.runtime.clone())?;
        Ok(Worker {
            input: job.input.as_ref().map(Input::open).transpose()?,
            manifest: Arc::new(Manifest::load(&output)?),
            model: Arc::new(load_model(job, &output, &context)?),
            output,
            context,
            counters: Arc::default(),
            max_rejects: job.max_rejects,
            max_pixels: job.max_pixels,
            pca: OnceLock::new(),
        })
    }

    /// The PCA that the fit stage left.
    pub fn pca(&self) -> Result<Arc<Pca>> {
        if let Some(pca) = self.pca.get() {
            return Ok(pca.clone());
        }
        let pca = Arc::new(pcas::load(&self.output, layout::STAGED_MODEL)?);
        Ok(self.pca.get_or_init(|| pca).clone())
    }
}
