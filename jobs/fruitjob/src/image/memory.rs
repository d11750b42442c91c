//! How much memory pictures may take, by all threads of a process together: while they are decoded, and until their pixels
//! are a model's input.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::cores::lend;

/// 512 MiB. Photographs of 12 megapixels take some 2 MB where they are scaled down, and 70 MB where they are not; none of
/// those waits. A picture that needs more than all is decoded alone.
const BUDGET: u64 = 512 << 20;

/// What is free, and the queue of those who wait: a large picture is not passed by while small ones come.
struct Budget {
    free: u64,
    /// The number of who comes next, and of whose turn it is.
    next: u64,
    turn: u64,
}

static BUDGET_NOW: Mutex<Budget> = Mutex::new(Budget { free: BUDGET, next: 0, turn: 0 });
static CHANGED: Condvar = Condvar::new();

/// Memory that a thread may use until this is dropped.
#[derive(Debug)]
pub(super) struct Held(u64);

/// Waits until so many bytes are free. Nobody may hold any already: two would wait for each other.
pub(super) fn hold(bytes: u64) -> Held {
    let bytes = bytes.min(BUDGET);
    let lock = || BUDGET_NOW.lock().unwrap_or_else(PoisonError::into_inner);
    let mut now = lock();
    let number = now.next;
    now.next += 1;
    let must_wait = |now: &mut Budget| now.turn != number || now.free < bytes;
    if must_wait(&mut now) {
        drop(now);
        // All of it while the core is lent: who waits for a core must not have the lock, which others need to give theirs.
        lend(|| CHANGED.wait_while(lock(), must_wait).unwrap_or_else(PoisonError::into_inner).take(bytes));
    } else {
        now.take(bytes);
    }
    CHANGED.notify_all();
    Held(bytes)
}

impl Budget {
    fn take(&mut self, bytes: u64) {
        self.turn += 1;
        self.free -= bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        BUDGET_NOW.lock().unwrap_or_else(PoisonError::into_inner).free += self.0;
        CHANGED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn pictures_larger_than_half_the_budget_are_decoded_one_after_another() {
        let (now, cores) = (AtomicU64::new(0), crate::cores::Cores::new(1));
        std::thread::scope(|scope| {
            for bytes in [BUDGET / 2 + 1, BUDGET, 2 * BUDGET, u64::MAX].repeat(25) {
                let now = &now;
                let cores = &cores;
                scope.spawn(move || {
                    // As many cores as one: who waits for memory lends it, and nobody waits for both with the lock.
                    let _core = cores.hold();
                    let _held = hold(bytes);
                    assert_eq!(now.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }
}
