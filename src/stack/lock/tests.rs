//! Several who want one lock, in a store in memory, by a clock that runs when everybody waits.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::oneshot;

use super::*;
use crate::aws::fence::Fence;

/// Objects with the number of the write that made them for their ETag.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, (Vec<u8>, String)>,
    writes: usize,
    /// Takes conditions for decoration.
    careless: bool,
    /// The answer to this write gets lost; it is made again, as a client does.
    lost: Option<usize>,
    /// Writes that are answered with an error.
    broken: bool,
    now: Duration,
    /// Who waits, by when and in the order of asking.
    sleepers: BTreeMap<(Duration, usize), oneshot::Sender<()>>,
    slept: usize,
}

impl Memory {
    /// A store whose clock goes to the next sleeper's time whenever everybody sleeps. All else here is ready at once, so
    /// that a few turns bring everybody to their next sleep.
    fn new() -> Memory {
        let store = Memory::default();
        let its = store.clone();
        tokio::spawn(async move {
            loop {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                let next = its.with(|inner| {
                    let ((at, _), sleeper) = inner.sleepers.pop_first()?;
                    inner.now = at;
                    Some(sleeper)
                });
                if let Some(sleeper) = next {
                    let _ = sleeper.send(());
                }
            }
        });
        store
    }

    async fn sleep_seconds(&self, seconds: i64) {
        self.sleep(Duration::from_secs(seconds as u64)).await;
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }
}

impl Inner {
    fn put(&mut self, key: &str, body: &[u8], only: Only<'_>) -> Option<String> {
        let there = self.objects.get(key).map(|(_, etag)| etag.as_str());
        let holds = match only {
            Only::Always => true,
            Only::IfAbsent => there.is_none(),
            Only::IfMatch(etag) => there == Some(etag),
        };
        if !holds && !self.careless {
            return None;
        }
        self.writes += 1;
        let etag = self.writes.to_string();
        self.objects.insert(key.to_owned(), (body.to_vec(), etag.clone()));
        Some(etag)
    }
}

impl Store for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, String)>> {
        Ok(self.with(|inner| inner.objects.get(key).cloned()))
    }

    async fn put(&self, key: &str, body: &[u8], only: Only<'_>) -> Result<Option<String>> {
        self.with(|inner| {
            if inner.broken {
                return Err(Error::new(Kind::TimedOut, "no answer"));
            }
            let answer = inner.put(key, body, only);
            if inner.lost == Some(inner.writes) {
                inner.lost = None;
                return Ok(inner.put(key, body, only));
            }
            Ok(answer)
        })
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.with(|inner| inner.objects.remove(key));
        Ok(())
    }

    fn now(&self) -> Duration {
        self.with(|inner| inner.now)
    }

    async fn sleep(&self, time: Duration) {
        let (wake, woken) = oneshot::channel();
        self.with(|inner| {
            inner.slept += 1;
            let at = (inner.now + time, inner.slept);
            inner.sleepers.insert(at, wake);
        });
        let _ = woken.await;
    }
}

/// A lock that is held and renewed.
struct Lock {
    lease: Arc<Lease<Memory>>,
    cancel: Cancel,
    renewal: Renewal,
}

impl Lock {
    async fn release(self) {
        drop(self.renewal);
        self.lease.release().await;
    }
}

/// Takes the lock; waits for `wait` seconds at most.
async fn try_take(store: &Memory, wait: f64) -> Result<Lock> {
    let lease = take(store, &Name::stack(), "up", wait, &|_| {}).await?;
    let (_, cancel) = Cancel::new();
    let renewal = Renewal::of(&lease, &cancel);
    Ok(Lock { lease, cancel, renewal })
}

/// Somebody's on another machine, whose clock is `behind` seconds behind ours.
async fn elsewhere(store: &Memory, behind: i64) -> String {
    let mut holder = Holder::elsewhere();
    holder.expires = clock::now() + LEASE - behind;
    write(store, &Name::stack(), &holder, Only::IfAbsent).await.unwrap().unwrap()
}

async fn is_free(store: &Memory) -> bool {
    read(store, &Name::stack()).await.unwrap().is_none_or(|(holder, _)| holder.is_dead())
}

#[tokio::test]
async fn one_at_a_time() {
    let store = Memory::new();
    let first = try_take(&store, 0.0).await.unwrap();
    let refused = try_take(&store, 0.0).await.err().unwrap();
    assert_eq!(refused.kind, Kind::Locked);
    assert!(refused.help.as_ref().unwrap().contains(first.lease.id()), "{refused:?}");
    let waiter = tokio::spawn({
        let store = store.clone();
        async move { try_take(&store, 3600.0).await.map(|lock| lock.lease.id().to_owned()) }
    });
    // Ten leases: it is renewed, and so nobody takes it over.
    store.sleep_seconds(10 * LEASE).await;
    assert!(!waiter.is_finished());
    let before = first.lease.id().to_owned();
    first.release().await;
    assert_ne!(waiter.await.unwrap().unwrap(), before);
}

#[tokio::test]
async fn what_is_given_back_is_free() {
    let store = Memory::new();
    try_take(&store, 0.0).await.unwrap().release().await;
    assert!(is_free(&store).await);
    // Another's is not ours to give back.
    let lock = try_take(&store, 0.0).await.unwrap();
    assert!(force(&store, &Name::stack()).await.unwrap().is_some());
    let theirs = try_take(&store, 0.0).await.unwrap();
    lock.release().await;
    assert!(!is_free(&store).await);
    theirs.release().await;
    assert!(is_free(&store).await);
    assert!(force(&store, &Name::stack()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_dead_holder_is_waited_for_as_long_as_a_lock_lives() {
    for behind in [0, LEASE, 2 * LEASE, -600] {
        let store = Memory::new();
        elsewhere(&store, behind).await;
        let start = store.now();
        let lock = try_take(&store, 3600.0).await.unwrap();
        // By our clock alone, whatever theirs says.
        let waited = (store.now() - start).as_secs() as i64;
        assert!((LEASE..LEASE + 5).contains(&waited), "{waited} s");
        lock.release().await;
    }
}

#[tokio::test]
async fn a_living_holder_is_never_overtaken() {
    let store = Memory::new();
    let mut etag = elsewhere(&store, 0).await;
    let theirs = store.clone();
    tokio::spawn(async move {
        loop {
            theirs.sleep_seconds(LEASE - 5).await;
            let holder = Holder::elsewhere();
            let renewed = write(&theirs, &Name::stack(), &holder, Only::IfMatch(&etag)).await;
            etag = renewed.unwrap().expect("nobody took it");
        }
    });
    assert_eq!(try_take(&store, 1800.0).await.err().unwrap().kind, Kind::Locked);
}

#[tokio::test]
async fn of_many_who_take_over_one_wins() {
    let store = Memory::new();
    elsewhere(&store, 0).await;
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { try_take(&store, 300.0).await })
        })
        .collect();
    let mut held = Vec::new();
    for attempt in tries {
        match attempt.await.unwrap() {
            Ok(taken) => held.push(taken),
            Err(error) => assert_eq!(error.kind, Kind::Locked),
        }
    }
    assert_eq!(held.len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_no_other_holder() {
    let store = Memory::new();
    store.with(|inner| inner.lost = Some(1));
    try_take(&store, 0.0).await.unwrap().release().await;
    assert!(is_free(&store).await);
}

#[tokio::test]
async fn a_lost_answer_to_a_renewal_loses_no_lock() {
    let store = Memory::new();
    let lock = try_take(&store, 0.0).await.unwrap();
    store.with(|inner| inner.lost = Some(inner.writes + 1));
    // Held for ten leases after that.
    assert_eq!(try_take(&store, 10.0 * LEASE as f64).await.err().unwrap().kind, Kind::Locked);
    lock.release().await;
    assert!(is_free(&store).await);
}

#[tokio::test]
async fn a_store_without_conditions_is_refused() {
    let store = Memory::new();
    store.with(|inner| inner.careless = true);
    assert_eq!(try_take(&store, 0.0).await.err().unwrap().kind, Kind::Refused);
}

#[tokio::test]
async fn a_store_that_is_away_for_a_while_costs_no_lock() {
    let store = Memory::new();
    let lock = try_take(&store, 0.0).await.unwrap();
    let held = |store: &Memory| store.with(|inner| inner.objects[&Name::stack().0].1.clone());
    let first = held(&store);
    store.with(|inner| inner.broken = true);
    store.sleep_seconds(LEASE / 2).await;
    assert_eq!(held(&store), first);
    store.with(|inner| inner.broken = false);
    store.sleep_seconds(LEASE / 2).await;
    assert_ne!(held(&store), first);
    lock.release().await;
}

/// The clock of a process that does not run, or of a machine that sleeps.
async fn sleep_through(store: &Memory, lock: Lock, seconds: i64) -> Arc<Lease<Memory>> {
    drop(lock.renewal);
    store.sleep_seconds(seconds).await;
    lock.lease
}

#[tokio::test]
async fn who_wakes_up_finds_his_lock_or_changes_nothing() {
    let store = Memory::new();
    // Nobody came: it is renewed, and his.
    let lock = try_take(&store, 0.0).await.unwrap();
    let lease = sleep_through(&store, lock, 10 * LEASE).await;
    lease.prove().await.unwrap();
    let kept = try_take(&store, 0.0).await.err().unwrap();
    assert!(kept.help.unwrap().contains(lease.id()));
    lease.release().await;
    // Somebody came.
    let lock = try_take(&store, 0.0).await.unwrap();
    let (slept, theirs) =
        tokio::join!(sleep_through(&store, lock, 2 * LEASE), try_take(&store, 2.0 * LEASE as f64));
    let theirs = theirs.unwrap();
    for _ in 0..2 {
        let lost = slept.prove().await.unwrap_err();
        assert!(lost.kind == Kind::Locked && lost.message.contains("took it for 'fruitctl up'"), "{lost}");
    }
    slept.release().await;
    theirs.lease.prove().await.unwrap();
}

#[tokio::test]
async fn what_is_taken_away_is_found_within_a_second() {
    let store = Memory::new();
    let lock = try_take(&store, 0.0).await.unwrap();
    lock.lease.prove().await.unwrap();
    assert!(force(&store, &Name::stack()).await.unwrap().is_some());
    store.sleep_seconds(1).await;
    let lost = lock.lease.prove().await.unwrap_err();
    assert!(lost.message.contains("it was taken away"), "{lost}");
    // And who only waits is stopped by the renewal.
    let lock = try_take(&store, 0.0).await.unwrap();
    force(&store, &Name::stack()).await.unwrap();
    assert_eq!(lock.cancel.cancelled().await.kind, Kind::Locked);
}

#[tokio::test]
async fn a_lock_that_goes_with_its_bucket_is_missed_by_nobody() {
    let store = Memory::new();
    let lock = try_take(&store, 0.0).await.unwrap();
    lock.lease.retire();
    store.delete(&Name::stack().0).await.unwrap();
    tokio::select! {
        why = lock.cancel.cancelled() => panic!("{why}"),
        () = store.sleep_seconds(10 * LEASE) => {}
    }
}

#[tokio::test]
async fn without_the_store_nothing_is_proven_for_long() {
    let store = Memory::new();
    let lock = try_take(&store, 0.0).await.unwrap();
    store.with(|inner| inner.broken = true);
    let lease = sleep_through(&store, lock, LEASE / 2).await;
    assert_eq!(lease.prove().await.unwrap_err().kind, Kind::TimedOut);
    store.with(|inner| inner.broken = false);
    lease.prove().await.unwrap();
}

#[tokio::test]
async fn who_slept_takes_nobodys_lock_away_when_he_gives_his_back() {
    let store = Memory::new();
    let lock = try_take(&store, 0.0).await.unwrap();
    let slept = sleep_through(&store, lock, 2 * LEASE).await;
    force(&store, &Name::stack()).await.unwrap();
    let theirs = try_take(&store, 0.0).await.unwrap();
    slept.release().await;
    theirs.lease.prove().await.unwrap();
    assert!(!is_free(&store).await);
}
