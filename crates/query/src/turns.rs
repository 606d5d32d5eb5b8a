//! Turns at the pool: of the readings that have a task waiting, the one goes next that has had least of the pool's time.
//!
//! Fair queueing over virtual time (Demers, Keshav, Shenker 1989; Goyal, Vin, Cheng 1996): a reading's time runs as it is served, faster
//! once it has been served for long; the pool's time runs as it serves, divided among those who want it; a reading that comes starts at the
//! pool's time. So a short reading waits for about one task of the long ones, not for all of them, and a long one gets its part however
//! many short ones come. Nothing here waits or measures: the pool tells what a task took.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time of one core after which a reading counts as long: most questions on a dashboard take less.
const SHORT_NS: u64 = 50_000_000;
/// How much faster a long reading's virtual time runs: beside one short reading it gets a fifth of the pool.
const LONG_RATE: u64 = 4;

/// What one question has had of the pool. Its readings, one after the other, share it.
#[derive(Debug, Default)]
pub(crate) struct Share {
    served_ns: AtomicU64,
    virtual_ns: AtomicU64,
}

impl Share {
    /// Time that threads of the pool have spent on it.
    pub fn served(&self) -> Duration {
        Duration::from_nanos(self.served_ns.load(Ordering::Relaxed))
    }

    fn serve(&self, took: u64) {
        let before = self.served_ns.fetch_add(took, Ordering::Relaxed);
        self.virtual_ns.fetch_add(charge(before, took), Ordering::Relaxed);
    }

    /// Its part of the pool, in quarters of a short reading's.
    fn weight(&self) -> u64 {
        if self.served_ns.load(Ordering::Relaxed) < SHORT_NS { LONG_RATE } else { 1 }
    }

    fn now(&self) -> u64 {
        self.virtual_ns.load(Ordering::Relaxed)
    }
}

/// Virtual time of a task for a reading that was served for `before` until then.
fn charge(before: u64, took: u64) -> u64 {
    let short = took.min(SHORT_NS.saturating_sub(before));
    short + (took - short).saturating_mul(LONG_RATE)
}

/// Waiting tasks. A reading has at most one per thread, and few readings run, so all are looked at.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    waiting: VecDeque<(Arc<Share>, T)>,
    /// The pool's virtual time.
    clock_ns: u64,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Turns { waiting: VecDeque::new(), clock_ns: 0 }
    }
}

impl<T> Turns<T> {
    /// A reading begins: time in which it wanted nothing earns it no credit.
    pub fn begin(&mut self, share: &Share) {
        share.virtual_ns.fetch_max(self.clock_ns, Ordering::Relaxed);
    }

    /// Adds a task of a reading that has begun.
    pub fn push(&mut self, share: Arc<Share>, task: T) {
        self.waiting.push_back((share, task));
    }

    /// Takes the task whose turn it is; of equals the one that waits longest.
    pub fn pop(&mut self) -> Option<T> {
        let times = self.waiting.iter().map(|(share, _)| share.now());
        let (place, time) = times.enumerate().min_by_key(|(_, time)| *time)?;
        self.clock_ns = self.clock_ns.max(time);
        self.waiting.remove(place).map(|(_, task)| task)
    }

    /// A task has been done that took so long.
    pub fn serve(&mut self, share: &Share, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Without this, readings of one task each that never end to come would all start at the same time, before a long one.
        let weights: u64 = self.waiting.iter().map(|(share, _)| share.weight()).sum();
        self.clock_ns += took.saturating_mul(LONG_RATE) / (weights + share.weight());
        share.serve(took);
    }

    /// Tasks that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A pool of one thread over readings of so many tasks of so many milli-seconds each.
    struct Simulation {
        turns: Turns<usize>,
        readings: Vec<(Arc<Share>, u32, u32)>,
        ends: Vec<Option<u32>>,
        now: u32,
    }

    impl Simulation {
        fn new() -> Self {
            Simulation { turns: Turns::default(), readings: Vec::new(), ends: Vec::new(), now: 0 }
        }

        fn begin(&mut self, tasks: u32, task_ms: u32) -> usize {
            let share = Arc::new(Share::default());
            self.turns.begin(&share);
            let reading = self.readings.len();
            self.turns.push(Arc::clone(&share), reading);
            self.readings.push((share, tasks, task_ms));
            self.ends.push(None);
            reading
        }

        fn step(&mut self) {
            let Some(reading) = self.turns.pop() else { return };
            let (share, left, task_ms) = &mut self.readings[reading];
            self.turns.serve(share, MS * *task_ms);
            self.now += *task_ms;
            *left -= 1;
            if *left == 0 {
                self.ends[reading] = Some(self.now);
            } else {
                let share = Arc::clone(share);
                self.turns.push(share, reading);
            }
        }
    }

    #[test]
    fn a_short_reading_waits_for_one_task_of_each_long_one_at_most() {
        let mut pool = Simulation::new();
        for _ in 0..8 {
            pool.begin(1_000, 10);
        }
        while pool.now < 2_000 {
            pool.step();
        }
        let came = pool.now;
        let short = pool.begin(3, 10);
        while pool.ends[short].is_none() {
            pool.step();
        }
        let took = pool.ends[short].expect("it ended") - came;
        assert!(took <= 8 * 10 + 3 * 10, "{took} ms for 30 ms of work beside eight long readings");
    }

    #[test]
    fn a_long_reading_gets_its_part_of_a_pool_full_of_short_ones() {
        let mut pool = Simulation::new();
        let long = pool.begin(1_000, 10);
        while pool.now < 1_000 {
            pool.step();
        }
        let before = pool.readings[long].0.served();
        let began = pool.now;
        let mut short = pool.begin(1, 10);
        while pool.now < began + 10_000 {
            pool.step();
            if pool.ends[short].is_some() {
                short = pool.begin(1, 10);
            }
        }
        let share = (pool.readings[long].0.served() - before).as_millis() as f64 / 10_000.0;
        assert!((0.15..0.35).contains(&share), "the long reading had {share} of the pool");
    }

    #[test]
    fn long_readings_share_evenly_whatever_their_tasks_take() {
        let mut pool = Simulation::new();
        let (small, large) = (pool.begin(100_000, 1), pool.begin(100_000, 25));
        while pool.now < 20_000 {
            pool.step();
        }
        let [small, large] =
            [small, large].map(|reading| pool.readings[reading].0.served().as_millis() as f64);
        assert!((small / large - 1.0).abs() < 0.1, "{small} ms and {large} ms");
    }

    #[test]
    fn who_was_away_has_no_credit() {
        let mut pool = Simulation::new();
        let early = Arc::new(Share::default());
        let long = pool.begin(1_000, 10);
        while pool.now < 1_000 {
            pool.step();
        }
        pool.turns.begin(&early);
        let (early, long) = (early.now(), pool.readings[long].0.now());
        assert!(long.abs_diff(early) < 100_000_000, "{early} beside {long}");
    }

    #[test]
    fn time_runs_faster_for_what_lies_past_the_bound() {
        for (before, took, expected) in [
            (0, 10, 10),
            (SHORT_NS - 10, 30, 10 + 20 * LONG_RATE),
            (SHORT_NS, 7, 7 * LONG_RATE),
            (SHORT_NS, u64::MAX, u64::MAX),
        ] {
            assert_eq!(charge(before, took), expected, "{took} after {before}");
        }
    }
}
