//! Who may compute: so many threads at once as the job was given. There may be more of them, for a thread that waits for a
//! store lends its core to another.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex};

thread_local! {
    /// What the thread holds a core of.
    static HELD: RefCell<Option<Arc<Cores>>> = const { RefCell::new(None) };
}

/// A number of cores.
#[derive(Debug)]
pub(crate) struct Cores {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Cores {
    /// So many.
    pub fn new(number: usize) -> Arc<Self> {
        Arc::new(Cores { free: Mutex::new(number), freed: Condvar::new() })
    }

    /// Waits for one, and holds it for this thread.
    pub fn hold(self: &Arc<Self>) -> Held {
        self.take();
        HELD.set(Some(self.clone()));
        Held
    }

    fn take(&self) {
        let free = self.free.lock().expect("no panic holds it");
        *self.freed.wait_while(free, |free| *free == 0).expect("no panic holds it") -= 1;
    }

    fn give(&self) {
        *self.free.lock().expect("no panic holds it") += 1;
        self.freed.notify_one();
    }
}

/// A core that a thread holds, until this is dropped.
pub(crate) struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(cores) = HELD.take() {
            cores.give();
        }
    }
}

/// Waits for what is not computed on this thread. Its core, if it holds one, is another's meanwhile.
pub(crate) fn lend<T>(wait: impl FnOnce() -> T) -> T {
    let Some(cores) = HELD.take() else { return wait() };
    cores.give();
    let result = wait();
    cores.take();
    HELD.set(Some(cores));
    result
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_thread_that_waits_lends_its_core() {
        let (cores, all, computing) = (Cores::new(1), Barrier::new(4), AtomicUsize::new(0));
        let compute = || {
            assert_eq!(computing.fetch_add(1, Ordering::SeqCst), 0);
            std::thread::yield_now();
            computing.fetch_sub(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let _held = cores.hold();
                    compute();
                    // None would get past it if the first kept its core.
                    lend(|| all.wait());
                    compute();
                });
            }
        });
        assert_eq!(*cores.free.lock().unwrap(), 1);
        // Who holds none lends none.
        assert_eq!((lend(|| 5), *cores.free.lock().unwrap()), (5, 1));
    }
}
