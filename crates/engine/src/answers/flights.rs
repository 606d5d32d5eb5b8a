//! Single-flight: callers who ask the same question at the same time wait for one computation.
//!
//! A flight runs in a task of its own. It ends early when its last waiter leaves; its error goes to all who wait and is kept
//! nowhere; a panic in it is an error like others. Not here: which callers may share (they say so) and what is computed.

use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hashbrown::HashMap;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::error::{EngineError, EngineResult};

/// What a flight gives to each of its waiters.
type Outcome<T> = Result<Arc<T>, Arc<EngineError>>;

type ByKey<K, F, T> = HashMap<K, Arc<Flight<F, T>>>;

/// All flights by key: of one key the one that started last, which is the only one that can be joined.
pub(crate) struct Flights<K, F, T> {
    by_key: Arc<Mutex<ByKey<K, F, T>>>,
}

/// One computation.
struct Flight<F, T> {
    /// What a caller must know to decide whether it may share.
    facts: F,
    cabin: Mutex<Cabin<T>>,
}

/// Who waits for a flight.
struct Cabin<T> {
    /// `None` once it has ended or was given up.
    waiters: Option<Vec<(u64, oneshot::Sender<Outcome<T>>)>>,
    next: u64,
    task: Option<AbortHandle>,
}

/// A place in a flight. Leaving it before the end gives up the computation where nobody else waits.
pub(crate) struct Waiter<K: Hash + Eq, F, T> {
    flights: Arc<Mutex<ByKey<K, F, T>>>,
    flight: Arc<Flight<F, T>>,
    key: K,
    id: u64,
    outcome: oneshot::Receiver<Outcome<T>>,
}

impl<K, F, T> Default for Flights<K, F, T> {
    fn default() -> Self {
        Flights { by_key: Arc::default() }
    }
}

impl<K, F, T> Flights<K, F, T>
where
    K: Hash + Eq + Clone + Send + 'static,
    F: Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    /// Waits for a running computation that `admits` the caller, or starts one. The second value tells whether it was joined.
    pub fn join_or_start<C>(
        &self,
        key: &K,
        admits: impl FnOnce(&F) -> bool,
        start: impl FnOnce() -> (F, C),
    ) -> (Waiter<K, F, T>, bool)
    where
        C: Future<Output = EngineResult<Arc<T>>> + Send + 'static,
    {
        // Held from the look to the start, so that two callers at the same moment are one flight.
        let mut by_key = lock(&self.by_key);
        let running = by_key.get(key).filter(|flight| admits(&flight.facts)).cloned();
        if let Some(flight) = running {
            let boarded = lock(&flight.cabin).board();
            if let Some((id, outcome)) = boarded {
                return (self.waiter(key, flight, id, outcome), true);
            }
        }
        let (facts, computation) = start();
        let (sender, outcome) = oneshot::channel();
        let cabin = Cabin { waiters: Some(vec![(0, sender)]), next: 1, task: None };
        let flight = Arc::new(Flight { facts, cabin: Mutex::new(cabin) });
        by_key.insert(key.clone(), Arc::clone(&flight));
        let landing =
            Landing { flights: Arc::clone(&self.by_key), flight: Arc::clone(&flight), key: key.clone() };
        let task = tokio::spawn(async move {
            let outcome = computation.await;
            landing.land(outcome.map_err(Arc::new));
        });
        lock(&flight.cabin).task = Some(task.abort_handle());
        (self.waiter(key, flight, 0, outcome), false)
    }

    fn waiter(
        &self,
        key: &K,
        flight: Arc<Flight<F, T>>,
        id: u64,
        outcome: oneshot::Receiver<Outcome<T>>,
    ) -> Waiter<K, F, T> {
        Waiter { flights: Arc::clone(&self.by_key), flight, key: key.clone(), id, outcome }
    }
}

impl<T> Cabin<T> {
    fn board(&mut self) -> Option<(u64, oneshot::Receiver<Outcome<T>>)> {
        let waiters = self.waiters.as_mut()?;
        let (sender, outcome) = oneshot::channel();
        let id = self.next;
        self.next += 1;
        waiters.push((id, sender));
        Some((id, outcome))
    }

    /// Takes a waiter out; true where the flight is given up because it was the last.
    fn leave(&mut self, id: u64) -> bool {
        let Some(waiters) = &mut self.waiters else { return false };
        waiters.retain(|(waiter, _)| *waiter != id);
        if !waiters.is_empty() {
            return false;
        }
        self.waiters = None;
        if let Some(task) = self.task.take() {
            task.abort();
        }
        true
    }
}

/// The end of a flight's task, however it comes.
struct Landing<K: Hash + Eq, F, T> {
    flights: Arc<Mutex<ByKey<K, F, T>>>,
    flight: Arc<Flight<F, T>>,
    key: K,
}

impl<K: Hash + Eq, F, T> Landing<K, F, T> {
    fn land(&self, outcome: Outcome<T>) {
        forget(&self.flights, &self.key, &self.flight);
        let waiters = lock(&self.flight.cabin).waiters.take().unwrap_or_default();
        let mut waiters = waiters.into_iter();
        // The last one gets the outcome itself, so that a caller that waited alone has its error alone.
        let last = waiters.next_back();
        for (_, waiter) in waiters {
            // One that is gone needs nothing.
            let _ = waiter.send(outcome.clone());
        }
        if let Some((_, waiter)) = last {
            let _ = waiter.send(outcome);
        }
    }
}

impl<K: Hash + Eq, F, T> Drop for Landing<K, F, T> {
    fn drop(&mut self) {
        // After a normal end nobody waits any more; after a panic these do.
        self.land(Err(Arc::new(EngineError::Panicked)));
    }
}

impl<K: Hash + Eq + Unpin, F, T> Future for Waiter<K, F, T> {
    type Output = EngineResult<Arc<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(context).map(|received| match received {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Arc::try_unwrap(error).unwrap_or_else(EngineError::Shared)),
            Err(_) => Err(EngineError::Panicked),
        })
    }
}

impl<K: Hash + Eq, F, T> Drop for Waiter<K, F, T> {
    fn drop(&mut self) {
        if lock(&self.flight.cabin).leave(self.id) {
            forget(&self.flights, &self.key, &self.flight);
        }
    }
}

/// Takes a flight off the map, unless a later one has its place.
fn forget<K: Hash + Eq, F, T>(flights: &Mutex<ByKey<K, F, T>>, key: &K, flight: &Arc<Flight<F, T>>) {
    let mut by_key = lock(flights);
    if by_key.get(key).is_some_and(|other| Arc::ptr_eq(other, flight)) {
        by_key.remove(key);
    }
}

/// Nothing that can panic runs under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    type Counted = Flights<&'static str, u32, u32>;

    /// Starts or joins a flight that counts its start and its cancellation and ends when told.
    fn ask(flights: &Counted, gate: &Arc<Gate>, least: u32) -> (Waiter<&'static str, u32, u32>, bool) {
        let gate = Arc::clone(gate);
        flights.join_or_start(
            &"k",
            |fact| *fact >= least,
            move || {
                let started = gate.started.fetch_add(1, Ordering::SeqCst) + 1;
                (started, async move {
                    let guard = Cancelled(Arc::clone(&gate));
                    gate.open.notified().await;
                    std::mem::forget(guard);
                    match gate.fate.load(Ordering::SeqCst) {
                        0 => Ok(Arc::new(started)),
                        1 => Err(EngineError::ShuttingDown),
                        _ => panic!("as the test asked"),
                    }
                })
            },
        )
    }

    #[derive(Default)]
    struct Gate {
        open: Notify,
        started: AtomicU32,
        cancelled: AtomicU32,
        fate: AtomicU32,
    }

    struct Cancelled(Arc<Gate>);

    impl Drop for Cancelled {
        fn drop(&mut self) {
            self.0.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn callers_share_one_computation_and_its_value() {
        let (flights, gate) = (Counted::default(), Arc::new(Gate::default()));
        let (first, first_joined) = ask(&flights, &gate, 0);
        let (second, second_joined) = ask(&flights, &gate, 1);
        assert_eq!((first_joined, second_joined), (false, true));
        gate.open.notify_one();
        let (first, second) = (first.await.expect("a value"), second.await.expect("a value"));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(gate.started.load(Ordering::SeqCst), 1);
        assert!(lock(&flights.by_key).is_empty());
    }

    #[tokio::test]
    async fn a_caller_that_is_not_admitted_starts_its_own() {
        let (flights, gate) = (Counted::default(), Arc::new(Gate::default()));
        let (old, _) = ask(&flights, &gate, 0);
        let (new, joined) = ask(&flights, &gate, 2);
        assert!(!joined);
        gate.open.notify_one();
        gate.open.notify_one();
        tokio::task::yield_now().await;
        gate.open.notify_one();
        assert_eq!((*old.await.expect("a value"), *new.await.expect("a value")), (1, 2));
        assert!(lock(&flights.by_key).is_empty());
    }

    #[tokio::test]
    async fn it_stops_when_the_last_waiter_leaves() {
        let (flights, gate) = (Counted::default(), Arc::new(Gate::default()));
        let (first, _) = ask(&flights, &gate, 0);
        let (second, _) = ask(&flights, &gate, 0);
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        assert_eq!(gate.cancelled.load(Ordering::SeqCst), 0);
        drop(second);
        while gate.cancelled.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(lock(&flights.by_key).is_empty());
        let (_third, joined) = ask(&flights, &gate, 0);
        assert!(!joined, "what was given up cannot be joined");
    }

    #[tokio::test]
    async fn errors_and_panics_reach_all_and_are_not_kept() {
        for fate in [1, 2] {
            let (flights, gate) = (Counted::default(), Arc::new(Gate::default()));
            gate.fate.store(fate, Ordering::SeqCst);
            let (first, _) = ask(&flights, &gate, 0);
            let (second, _) = ask(&flights, &gate, 0);
            gate.open.notify_one();
            let (first, second) = (first.await, second.await);
            let text = |result: EngineResult<Arc<u32>>| result.expect_err("an error").to_string();
            assert_eq!(text(first), text(second));
            gate.fate.store(0, Ordering::SeqCst);
            gate.open.notify_one();
            let (again, joined) = ask(&flights, &gate, 0);
            assert!(!joined);
            assert_eq!(*again.await.expect("a value"), 2);
        }
    }

    #[tokio::test]
    async fn who_waits_alone_gets_the_error_itself() {
        let (flights, gate) = (Counted::default(), Arc::new(Gate::default()));
        gate.fate.store(1, Ordering::SeqCst);
        gate.open.notify_one();
        let (alone, _) = ask(&flights, &gate, 0);
        assert!(matches!(alone.await, Err(EngineError::ShuttingDown)));
    }
}
