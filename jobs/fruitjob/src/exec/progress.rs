//! How far a stage is: counted by whoever does the work, told a few times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use fruitjob_interface::{Event, Observer, Stage};

/// How often progress is reported.
const TICK: Duration = Duration::from_millis(200);

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
    /// Adds units that are done.
    pub fn done(&self, n: u64) {
        self.done.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds units that are done and needed no work.
    pub fn cached(&self, n: u64) {
        self.cached.fetch_add(n, Ordering::Relaxed);
        self.done(n);
    }

    /// Adds units that were rejected; they have to be counted as done, too.
    pub fn rejected(&self, n: u64) {
        self.rejected.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds an image that cannot be read; returns how many there are by now.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds bytes that were read.
    pub fn read(&self, n: u64) {
        self.bytes.fetch_add(n, Ordering::Relaxed);
    }

    /// Units done so far.
    pub fn so_far(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Sets the units done.
    pub fn at(&self, n: u64) {
        self.done.store(n, Ordering::Relaxed);
    }
}

/// Reports a stage's counters until it is dropped, and once then.
pub(crate) struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(
        stage: Stage,
        total: Option<u64>,
        counters: Arc<Counters>,
        observer: Arc<dyn Observer>,
    ) -> Self {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_needed_no_work_is_done_too() {
        let counters = Counters::default();
        counters.done(2);
        counters.cached(3);
        counters.rejected(1);
        assert_eq!(counters.so_far(), 5);
        counters.at(4);
        assert_eq!(counters.so_far(), 4);
        assert_eq!([counters.unreadable(), counters.unreadable()], [1, 2]);
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Observer for Heard {
        fn event(&self, event: &Event) {
            self.0.lock().unwrap().push(event.clone());
        }
    }

    #[test]
    fn the_last_report_is_of_the_end() {
        let (heard, counters) = (Arc::new(Heard::default()), Arc::new(Counters::default()));
        let ticker = Ticker::start(Stage::Featurize, Some(9), counters.clone(), heard.clone());
        counters.cached(7);
        counters.done(2);
        counters.rejected(1);
        counters.read(1000);
        drop(ticker);
        let events = heard.0.lock().unwrap();
        let Some(Event::Progress {
            stage: Stage::Featurize,
            done: 9,
            total: Some(9),
            cached: 7,
            rejected: 1,
            bytes: 1000,
        }) = events.last()
        else {
            panic!("{events:?}")
        };
    }
}
