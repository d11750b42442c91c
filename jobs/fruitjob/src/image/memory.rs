//! How much memory pictures may take while they are decoded, by all threads of a process together.

use std::sync::{Condvar, Mutex, PoisonError};

/// 512 MiB. Photographs of 12 megapixels take some 2 MB where they are scaled down, and 70 MB where they are not; none of
/// those waits. A picture that needs more than all is decoded alone.
const BUDGET: u64 = 512 << 20;

static FREE: Mutex<u64> = Mutex::new(BUDGET);
static FREED: Condvar = Condvar::new();

/// Memory that a thread may use until this is dropped.
pub(super) struct Held(u64);

/// Waits until so many bytes are free. Nobody may hold any already: two would wait for each other.
pub(super) fn hold(bytes: u64) -> Held {
    let bytes = bytes.min(BUDGET);
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut free = FREED.wait_while(free, |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
    *free -= bytes;
    Held(bytes)
}

impl Drop for Held {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += self.0;
        FREED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn pictures_larger_than_half_the_budget_are_decoded_one_after_another() {
        let now = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for bytes in [BUDGET / 2 + 1, BUDGET, 2 * BUDGET, u64::MAX] {
                let now = &now;
                scope.spawn(move || {
                    let _held = hold(bytes);
                    assert_eq!(now.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }
}
