//! What every engine keeps to: the same tests on threads of this process, and on Spark with a driver that is a thread.

use std::io::{self, Write};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

use fruitjob_interface::spark::SparkOptions;
use fruitjob_interface::{Event, Observer, Stage};

use super::context::Context;
use super::progress::Counters;
use super::spark::{self, Spark};
use super::threads::Threads;
use super::{Batch, Done, Engine, Task};
use crate::error::{Error, Result};

struct Deaf;

impl Observer for Deaf {
    fn event(&self, _: &Event) {}
}

type Run = fn(&Task) -> Result<Done>;

/// Both engines, for tasks that are run so.
fn engines(run: Run) -> Vec<Box<dyn Engine>> {
    let (requests, asked) = mpsc::channel::<Vec<u8>>();
    let (sender, answers) = mpsc::channel();
    std::thread::spawn(move || {
        for request in asked {
            let answer = spark::answered(&request, &|task| run(task));
            let _ = sender.send(answer);
        }
    });
    let options = SparkOptions { task_seconds: 2.0, ..Default::default() };
    let spark = Spark::new(Box::new(Pipe(requests)), answers, &options, 3);
    vec![Box::new(Threads::new(2, false)), Box::new(Threads::new(1, true)), Box::new(spark)]
}

/// A pipe of lines.
struct Pipe(Sender<Vec<u8>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn map(engine: &mut dyn Engine, tasks: usize, run: Run) -> Result<Vec<Done>> {
    let runtime = crate::util::runtime().unwrap();
    let context = Context::new(runtime.handle().clone(), Arc::new(Deaf));
    let batch = Batch {
        stage: Stage::Project,
        units: tasks as u64,
        tasks: (0..tasks).map(|partition| Task::Project { partition }).collect(),
        seconds: vec![1.0; tasks],
    };
    engine.map(&|task| run(task), &context, &Counters::default(), batch)
}

fn partition(task: &Task) -> usize {
    match task {
        Task::Project { partition } => *partition,
        _ => unreachable!(),
    }
}

#[test]
fn every_task_is_done_once_and_results_come_in_order() {
    static DONE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let run: Run = |task| {
        DONE.lock().unwrap().push(partition(task));
        Ok(Done { rows: partition(task) as u64, ..Default::default() })
    };
    for mut engine in engines(run) {
        assert!(engine.slots() > 0);
        for tasks in [0, 1, 50] {
            let rows: Vec<u64> =
                map(&mut *engine, tasks, run).unwrap().iter().map(|done| done.rows).collect();
            assert_eq!(rows, (0..tasks as u64).collect::<Vec<_>>());
            let mut done = std::mem::take(&mut *DONE.lock().unwrap());
            done.sort_unstable();
            assert_eq!(done, (0..tasks).collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_no_other_attempt_would_mend_comes_back_as_it_is() {
    let denied: Run = |task| match partition(task) {
        7 => Err(Error::Denied("no way".into())),
        _ => Ok(Done::default()),
    };
    let usage: Run = |task| match partition(task) {
        7 => Err(Error::Usage("not so".into())),
        _ => Ok(Done::default()),
    };
    for mut engine in engines(denied) {
        assert!(matches!(map(&mut *engine, 20, denied), Err(Error::Denied(text)) if text == "no way"));
    }
    for mut engine in engines(usage) {
        assert!(matches!(map(&mut *engine, 20, usage), Err(Error::Usage(text)) if text == "not so"));
    }
}

#[test]
fn a_task_that_fails_for_good_fails_them_all() {
    let run: Run = |task| match partition(task) {
        7 => Err(Error::Failed("the disk is on fire".into())),
        _ => Ok(Done::default()),
    };
    for mut engine in engines(run) {
        let error = map(&mut *engine, 20, run).unwrap_err();
        assert!(matches!(&error, Error::Failed(text) if text.contains("the disk is on fire")), "{error}");
        // And the engine can go on: what was done is kept by the tasks, not by it.
        assert_eq!(map(&mut *engine, 5, run).unwrap().len(), 5);
    }
}
