//! The engine of one machine: threads of this process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::context::Context;
use super::progress::Counters;
use super::{Batch, Done, Engine, Execute, Task};
use crate::cores::Cores;
use crate::error::{Error, Result};

/// Runs tasks on threads of this process.
pub struct Threads {
    /// How many compute at once.
    slots: usize,
    /// How many there are.
    threads: usize,
}

impl Threads {
    /// So many threads that compute; where they wait for a store, as many again, which do what comes next meanwhile.
    pub fn new(slots: usize, waits: bool) -> Self {
        Threads { slots, threads: if waits { 2 * slots } else { slots } }
    }

    /// Runs all tasks and returns their results in order, or the first error.
    pub fn run(&self, execute: Execute, tasks: &[Task]) -> Result<Vec<Done>> {
        let cores = Cores::new(self.slots);
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let error = Mutex::new(None);
        let results = Mutex::new(vec![None; tasks.len()]);
        let work = || {
            let _core = cores.hold();
            while !stop.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(task) = tasks.get(index) else { break };
                match execute(task) {
                    Ok(done) => results.lock().expect("no panic holds it")[index] = Some(done),
                    Err(e) => {
                        stop.store(true, Ordering::Relaxed);
                        error.lock().expect("no panic holds it").get_or_insert(e);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.min(tasks.len())).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                if thread.join().is_err() {
                    stop.store(true, Ordering::Relaxed);
                    let bug = Error::Bug("a worker thread panicked".into());
                    error.lock().expect("no panic holds it").get_or_insert(bug);
                }
            }
        });
        match error.into_inner().expect("no panic holds it") {
            Some(e) => Err(e),
            None => Ok(results.into_inner().expect("no panic holds it").into_iter().flatten().collect()),
        }
    }
}

impl Engine for Threads {
    fn slots(&self) -> usize {
        self.slots
    }

    fn map(&mut self, execute: Execute, _: &Context, _: &Counters, batch: Batch) -> Result<Vec<Done>> {
        self.run(execute, &batch.tasks)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::Duration;

    use super::*;
    use crate::cores;

    /// Runs so many tasks on so many threads.
    fn map(threads: usize, tasks: usize, execute: Execute) -> Result<Vec<Done>> {
        let tasks: Vec<_> = (0..tasks).map(|partition| Task::Project { partition }).collect();
        Threads { slots: threads, threads }.run(execute, &tasks)
    }

    fn index(task: &Task) -> usize {
        match task {
            Task::Project { partition } => *partition,
            _ => unreachable!(),
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_tasks() {
        let execute = |task: &Task| {
            let i = index(task);
            // The first ones take longest.
            std::thread::sleep(Duration::from_millis(if i < 3 { 20 } else { 0 }));
            Ok(Done { rows: i as u64, ..Default::default() })
        };
        for threads in [1, 4, 64] {
            let rows: Vec<u64> = map(threads, 12, &execute).unwrap().iter().map(|done| done.rows).collect();
            assert_eq!(rows, (0..12).collect::<Vec<_>>());
        }
        assert!(map(4, 0, &execute).unwrap().is_empty());
    }

    #[test]
    fn who_waits_lets_others_begin() {
        let all = Barrier::new(3);
        let execute = |_: &Task| {
            cores::lend(|| all.wait());
            Ok(Done::default())
        };
        let tasks: Vec<_> = (0..3).map(|partition| Task::Project { partition }).collect();
        assert_eq!(Threads { slots: 1, threads: 3 }.run(&execute, &tasks).unwrap().len(), 3);
    }

    #[test]
    fn an_error_is_the_end_of_all() {
        let begun = AtomicUsize::new(0);
        let execute = |task: &Task| {
            begun.fetch_add(1, Ordering::Relaxed);
            match index(task) {
                2 => Err(Error::Denied("no".into())),
                _ => Ok(Done::default()),
            }
        };
        assert!(matches!(map(1, 100, &execute), Err(Error::Denied(_))));
        assert_eq!(begun.into_inner(), 3);
    }

    #[test]
    fn a_task_that_panics_is_a_bug_and_not_the_end_of_the_process() {
        let execute = |task: &Task| {
            // Quietly: not by `panic!`, which prints.
            if index(task) == 1 { std::panic::resume_unwind(Box::new("oh")) } else { Ok(Done::default()) }
        };
        assert!(matches!(map(2, 3, &execute), Err(Error::Bug(_))));
    }
}
