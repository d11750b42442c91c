//! One run over one output: takes its lock, runs the stages in order or one of them, and writes the record.

use std::time::Instant;

use fruitjob_interface::event;
use fruitjob_interface::record::{RunRecord, StageRecord};
use fruitjob_interface::{Event, Stage};

use crate::artifacts::{lock, record};
use crate::error::Result;
use crate::exec::Engine;
use crate::exec::context::Context;
use crate::exec::threads::Threads;
use crate::job::Job;
use crate::model::{Model, source};
use crate::stages::state::Run;
use crate::stages::{execute, featurize, fit, list, project, publish, report};
use crate::storage::{Location, Output};

/// Runs all stages, on threads of this process; the record of what was done.
///
/// # Errors
/// [`Error::Locked`](crate::error::Error::Locked) when another run is writing there; whatever a stage fails with.
pub fn run(job: Job, context: Context) -> Result<RunRecord> {
    let engine = Box::new(Threads::new(job.threads, job.is_far()));
    run_on(engine, job, context)
}

/// [`run`], on another engine.
///
/// # Errors
/// As [`run`].
pub fn run_on(engine: Box<dyn Engine>, job: Job, context: Context) -> Result<RunRecord> {
    locked(engine, job, context, |run| {
        // First of all, for it needs no work: is there an input, and a model?
        run.input()?;
        let model = run.model()?;
        run.pinned()?;
        announce(run, &model.name, Some(&model));
        Stage::ALL.into_iter().try_for_each(|stage| run_stage(run, stage))
    })
}

/// Runs one stage, on threads of this process and on what the earlier ones left in the output.
///
/// # Errors
/// As [`run`]; [`Error::Usage`](crate::error::Error::Usage) when an earlier stage has to be run first.
pub fn run_one(stage: Stage, job: Job, context: Context) -> Result<RunRecord> {
    let engine = Box::new(Threads::new(job.threads, job.is_far()));
    locked(engine, job, context, |run| {
        if stage != Stage::List {
            run.record = record::load(&run.output)?;
        }
        let model = (stage == Stage::Featurize).then(|| run.model()).transpose()?;
        announce(run, &source::display_name(&run.job.model), model.as_deref());
        run_stage(run, stage)
    })
}

/// Opens the output, locks it where it is a directory, and has the work done; the last event is the record.
fn locked(
    engine: Box<dyn Engine>,
    job: Job,
    context: Context,
    work: impl FnOnce(&mut Run) -> Result<()>,
) -> Result<RunRecord> {
    let output = Output::open(&job.output, context.runtime.clone())?;
    let _lock = lock::lock(&job.output)?;
    let mut run = Run::new(job, output, context, engine, execute);
    work(&mut run)?;
    run.context.observer.event(&Event::Finished { run: Box::new(run.record.clone()) });
    Ok(run.record)
}

fn announce(run: &Run, name: &str, model: Option<&Model>) {
    let input = run.job.input.as_ref().map(Location::to_string);
    run.context.observer.event(&Event::Started {
        version: event::VERSION,
        input: input.unwrap_or_else(|| run.record.input.clone()),
        output: run.job.output.to_string(),
        model: name.to_owned(),
        engine: model.map(|m| m.backbone.engine().to_owned()),
        not_fast: model.and_then(|m| m.why_general.clone()),
        threads: run.slots(),
    });
}

fn run_stage(run: &mut Run, stage: Stage) -> Result<()> {
    run.context.check()?;
    let start = Instant::now();
    let result = match stage {
        Stage::List => list::run(run),
        Stage::Featurize => featurize::run(run),
        Stage::Fit => fit::run(run),
        Stage::Project => project::run(run),
        Stage::Report => report::run(run),
    };
    run.end();
    let message = result?;
    let seconds = start.elapsed().as_secs_f64();
    run.record.stages.retain(|s| s.stage < stage);
    run.record.stages.push(StageRecord { stage, seconds });
    run.record.spark = run.spark();
    let json = record::save(&run.output, &run.record)?;
    if stage == Stage::Report {
        publish::publish(run, json)?;
        publish::collect_garbage(run)?;
    }
    run.context.observer.event(&Event::StageFinished { stage, seconds, message });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use fruitjob_interface::{JobOptions, Observer};

    use super::*;
    use crate::error::Error;
    use crate::samples;

    /// Keeps the events.
    #[derive(Default)]
    struct Events(Mutex<Vec<Event>>);

    impl Observer for Events {
        fn event(&self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    struct Place {
        folder: tempfile::TempDir,
        runtime: tokio::runtime::Runtime,
        events: Arc<Events>,
    }

    impl Place {
        /// A folder with a few pictures of fruit in `in`.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            samples::draw(&folder.path().join("in"), 3, 4, 1, false, &|| Ok(())).unwrap();
            Place { folder, runtime: crate::util::runtime().unwrap(), events: Arc::default() }
        }

        fn job(&self, output: &str, threads: usize) -> Job {
            let path = |name: &str| Some(self.folder.path().join(name).to_str().unwrap().to_owned());
            let options = JobOptions {
                input: path("in"),
                output: path(output),
                threads: NonZeroUsize::new(threads),
                ..Default::default()
            };
            Job::new(options, Default::default()).unwrap()
        }

        fn context(&self) -> Context {
            Context::new(self.runtime.handle().clone(), self.events.clone())
        }

        fn read(&self, name: &str) -> Vec<u8> {
            std::fs::read(self.folder.path().join(name)).unwrap()
        }
    }

    const RESULTS: [&str; 5] = [
        "results/part-00000.parquet",
        "rejects.parquet",
        "manifest.parquet",
        "model/components.npy",
        "model/model.onnx",
    ];

    #[test]
    fn results_are_the_same_bytes_in_one_run_or_stage_by_stage_on_one_thread_or_three() {
        let place = Place::new();
        let whole = run(place.job("whole", 1), place.context()).unwrap();
        assert_eq!((whole.images.listed, whole.images.featurized, whole.images.results), (12, 12, 12));
        for stage in Stage::ALL {
            run_one(stage, place.job("staged", 3), place.context()).unwrap();
        }
        for name in RESULTS {
            assert_eq!(place.read(&format!("whole/{name}")), place.read(&format!("staged/{name}")), "{name}");
        }
        assert!(!Path::new(&place.folder.path().join("whole/.fruitjob/staging/run.json")).exists());
        let events = place.events.0.lock().unwrap();
        let finished = events.iter().filter(|event| matches!(event, Event::Finished { .. })).count();
        assert_eq!(finished, 6);
        let first_stages: Vec<Stage> = events
            .iter()
            .filter_map(|event| match event {
                Event::StageFinished { stage, .. } => Some(*stage),
                _ => None,
            })
            .take(5)
            .collect();
        assert_eq!(first_stages, Stage::ALL);
    }

    #[test]
    fn a_second_run_finds_its_features_and_says_what_changed() {
        let place = Place::new();
        let first = run(place.job("out", 2), place.context()).unwrap();
        assert!(first.changes.is_none());
        std::fs::remove_file(place.folder.path().join("in/Apple 1/0_100.jpg")).unwrap();
        let second = run(place.job("out", 2), place.context()).unwrap();
        assert_eq!((second.images.featurized, second.images.cached), (0, 11));
        let changes = second.changes.unwrap();
        assert_eq!((changes.new, changes.changed, changes.removed, changes.listed), (0, 0, 1, 12));
        assert_eq!(
            (changes.labels[0].label.as_str(), changes.labels[0].before, changes.labels[0].now),
            ("Apple 1", 4, 3)
        );
        assert!(changes.pca.is_some_and(|drift| !drift.same));
    }

    #[test]
    fn a_pca_of_an_earlier_builtin_goes_on_with_that_model_and_says_so() {
        let place = Place::new();
        let earlier = Job { model: "builtin-1".into(), ..place.job("out", 1) };
        let first = run(earlier, place.context()).unwrap();
        let pin_pca = first.pca.map(|pca| pca.id);
        let pinned = Job { pin_pca, ..place.job("out", 1) };
        let second = run(pinned.clone(), place.context()).unwrap();
        assert_eq!(second.model.unwrap().name, "builtin-1");
        assert_eq!((second.images.cached, second.warnings.len()), (12, 1));
        assert!(second.warnings[0].contains("--model builtin-1"), "{}", second.warnings[0]);
        // Whoever names it is not warned.
        let named = run(Job { model: "builtin-1".into(), ..pinned.clone() }, place.context()).unwrap();
        assert!(named.warnings.is_empty());
        // Another model's vectors on it would mean nothing.
        let file = place.folder.path().join("m.onnx");
        std::fs::write(&file, crate::model::inside::BUILTIN).unwrap();
        let other = Job { model: file.to_str().unwrap().into(), ..pinned };
        let error = run(other, place.context()).unwrap_err().to_string();
        assert!(error.contains("of model builtin-1") && error.contains("--model builtin-1"), "{error}");
        // Without it, today's.
        let third = run(place.job("out", 1), place.context()).unwrap();
        assert_eq!(third.model.unwrap().name, "builtin");
        assert!(third.changes.unwrap().pca.is_none() && third.warnings.is_empty());
    }

    #[test]
    fn a_stage_without_what_it_works_on_names_the_one_to_run() {
        let place = Place::new();
        let next = |stage| match run_one(stage, place.job("out", 1), place.context()) {
            Err(Error::Usage(message)) => message,
            other => panic!("{other:?}"),
        };
        assert!(next(Stage::Featurize).contains("'fruitjob list'"));
        run_one(Stage::List, place.job("out", 1), place.context()).unwrap();
        assert!(next(Stage::Fit).contains("'fruitjob featurize'"));
        assert!(next(Stage::Report).contains("'fruitjob project'"));
    }

    #[test]
    fn a_run_without_an_input_does_nothing() {
        let place = Place::new();
        let job = Job { input: None, ..place.job("out", 1) };
        let error = run(job, place.context()).unwrap_err();
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("--input"), "{error}");
        assert!(place.events.0.lock().unwrap().is_empty());
    }
}
