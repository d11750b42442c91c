//! How many images are read at once from a store: more while that helps, half when the store asks for fewer requests.
//! All readers of a process go by one number, for they share the line to the store.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Images that each reader starts with.
const START: usize = 48;
/// The most for one reader, and for all of them: each may be a connection, and a process has a thousand files.
const MOST: usize = 512;
const MOST_TOGETHER: usize = 640;
/// Below this share of the time that readers' users wait for images, more in flight would be of no use.
const IDLE: f64 = 0.05;
/// What a raise has to bring, as a factor of the images a second, to be kept.
const HELPED: f64 = 1.05;
/// Windows to wait after a raise that did not help, and after the store asked for fewer.
const PAUSE: u32 = 16;

/// The number, and what it goes by.
#[derive(Debug)]
pub(super) struct Flight {
    limit: AtomicUsize,
    readers: AtomicUsize,
    window: Mutex<Window>,
}

/// What was seen since the number was last thought over.
#[derive(Debug, Default)]
struct Window {
    began: Duration,
    images: usize,
    waited: Duration,
    /// Requests to go slower so far.
    throttled: u64,
    /// The number and the images a second before it was raised.
    before: Option<(usize, f64)>,
    pause: u32,
    /// The store asked for fewer once: small steps from then on.
    careful: bool,
    /// Images since then.
    since: usize,
}

impl Default for Flight {
    fn default() -> Self {
        Flight { limit: AtomicUsize::new(START), readers: AtomicUsize::new(0), window: Mutex::default() }
    }
}

impl Flight {
    /// How many images one reader may have in flight or in hand, of which `fit` fit into its memory.
    pub fn limit(&self, fit: usize) -> usize {
        let share = MOST_TOGETHER / self.readers.load(Ordering::Relaxed).max(1);
        self.limit.load(Ordering::Relaxed).min(fit).min(share).max(1)
    }

    /// A reader begins; until [`Flight::leave`].
    pub fn enter(&self) {
        self.readers.fetch_add(1, Ordering::Relaxed);
    }

    /// A reader has ended.
    pub fn leave(&self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }

    /// An image was taken at `now`, after its user had `waited` for it; so far the store has asked `throttled` times for
    /// fewer requests. `now` counts from any moment.
    pub fn taken(&self, now: Duration, waited: Duration, throttled: u64) {
        let Ok(mut window) = self.window.lock() else { return };
        let limit = self.limit.load(Ordering::Relaxed);
        let asked = throttled > window.throttled;
        window.throttled = throttled;
        // What was in flight then says nothing of the new number: it is halved once a flight.
        if asked && (!window.careful || window.since >= limit) {
            *window = Window { began: now, throttled, pause: PAUSE, careful: true, ..Window::default() };
            self.limit.store((limit / 2).max(1), Ordering::Relaxed);
            return;
        }
        if window.images == 0 && window.began.is_zero() {
            window.began = now;
        }
        window.images += 1;
        window.since += 1;
        window.waited += waited;
        let readers = self.readers.load(Ordering::Relaxed).max(1);
        if window.images < 4 * limit * readers.min(4) {
            return;
        }
        let limit = window.judge(now, limit, readers);
        self.limit.store(limit, Ordering::Relaxed);
    }
}

impl Window {
    /// Ends the window; the number for the next one.
    fn judge(&mut self, now: Duration, limit: usize, readers: usize) -> usize {
        let seconds = now.saturating_sub(self.began).as_secs_f64().max(1e-6);
        let rate = self.images as f64 / seconds;
        let idle = self.waited.as_secs_f64() < IDLE * seconds * readers as f64;
        (self.began, self.images, self.waited) = (now, 0, Duration::ZERO);
        if self.pause > 0 {
            self.pause -= 1;
            return limit;
        }
        match self.before.take() {
            Some((before, slower)) if rate < slower * HELPED => {
                self.pause = PAUSE;
                before
            }
            _ if idle || limit >= MOST => limit,
            _ => {
                self.before = Some((limit, rate));
                let step = if self.careful { limit / 8 } else { limit / 2 };
                (limit + step.max(1)).min(MOST)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that answers after `latency`, at most `most` a second, and asks for fewer above `allowed` in flight; one
    /// reader takes up to `fast` images a second.
    struct Simulated {
        flight: Flight,
        latency: f64,
        most: f64,
        allowed: usize,
        fast: f64,
        now: f64,
        throttled: u64,
    }

    impl Simulated {
        fn new(latency: f64, fast: f64) -> Self {
            let flight = Flight::default();
            flight.enter();
            Simulated { flight, latency, most: f64::MAX, allowed: usize::MAX, fast, now: 1.0, throttled: 0 }
        }

        /// Some images; their number a second over the last quarter.
        fn run(&mut self, images: usize) -> f64 {
            let mut mark = self.now;
            for i in 0..images {
                let limit = self.flight.limit(usize::MAX);
                let store = self.most.min(limit as f64 / self.latency);
                let each = (1.0 / store).max(1.0 / self.fast);
                self.now += each;
                self.throttled += u64::from(limit > self.allowed && i % 10 == 0);
                let waited = each - 1.0 / self.fast;
                let seconds = Duration::from_secs_f64;
                self.flight.taken(seconds(self.now), seconds(waited), self.throttled);
                if i == images / 4 * 3 {
                    mark = self.now;
                }
            }
            (images - images / 4 * 3) as f64 / (self.now - mark)
        }
    }

    #[test]
    fn a_store_far_away_gets_as_many_requests_as_it_takes() {
        for latency in [0.03, 0.06, 0.1] {
            let mut far = Simulated::new(latency, 1600.0);
            assert!(far.run(20_000) > 0.94 * 1600.0, "{latency}: {:?}", far.flight);
        }
        // Nothing is won by more where nobody waits.
        let mut near = Simulated::new(0.001, 1600.0);
        near.run(20_000);
        assert_eq!(near.flight.limit(usize::MAX), START);
    }

    #[test]
    fn what_does_not_help_is_taken_back() {
        let mut narrow = Simulated { most: 500.0, ..Simulated::new(0.06, 1600.0) };
        narrow.run(100_000);
        assert!(narrow.flight.limit(usize::MAX) <= 2 * START, "{:?}", narrow.flight);
    }

    #[test]
    fn a_store_that_asks_for_fewer_gets_half_and_then_little_more() {
        let mut strict = Simulated { allowed: 100, ..Simulated::new(0.1, 1600.0) };
        let mut most = 0;
        for _ in 0..200 {
            let before = strict.throttled;
            let limit = strict.flight.limit(usize::MAX);
            strict.run(100);
            if strict.throttled > before && limit > 100 {
                assert!(strict.flight.limit(usize::MAX) <= limit / 2 + limit / 8 + 1, "{:?}", strict.flight);
            }
            most = most.max(strict.flight.limit(usize::MAX));
        }
        assert!(strict.throttled > 0 && most <= 162, "{most}");
        // Asked again and again, it does not stand still.
        let mut closed = Simulated { allowed: 0, ..Simulated::new(0.1, 1600.0) };
        closed.run(10_000);
        assert_eq!(closed.flight.limit(usize::MAX), 1);
    }

    #[test]
    fn memory_and_readers_bound_it() {
        let flight = Flight::default();
        assert_eq!((flight.limit(8), flight.limit(usize::MAX)), (8, START));
        (0..64).for_each(|_| flight.enter());
        assert_eq!(flight.limit(usize::MAX), 10);
        (0..63).for_each(|_| flight.leave());
        assert_eq!(flight.limit(usize::MAX), START);
    }
}
