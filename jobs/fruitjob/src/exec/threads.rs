//! The engine of one machine: threads of this process.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::context::Context;
use super::progress::Counters;
use super::{Batch, Done, Engine, Execute};
use crate::error::{Error, Result};

/// Runs tasks on so many threads of this process.
pub struct Threads(pub usize);

impl Engine for Threads {
    fn slots(&self) -> usize {
        self.0
    }

    fn map(&mut self, execute: Execute, _: &Context, _: &Counters, batch: Batch) -> Result<Vec<Done>> {
        let tasks = batch.tasks;
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let error = Mutex::new(None);
        let results = Mutex::new(vec![None; tasks.len()]);
        let work = || {
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
            let threads: Vec<_> = (0..self.0.min(tasks.len())).map(|_| scope.spawn(work)).collect();
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
