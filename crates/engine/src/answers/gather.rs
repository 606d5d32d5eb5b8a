//! Questions on the same rows that come while one is being computed wait a moment and go together, because what they read and
//! group alike is then read and grouped once. On an idle server nobody waits, and nobody does who has next to nothing to read.
//!
//! Not here: what they have in common (`query`), and callers with the same question (`flights`).

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

/// Computations per lane, and those that wait to go with others. A lane is the rows they read.
pub(crate) struct Gatherings<L, J> {
    lanes: Mutex<HashMap<L, Lane<J>>>,
}

struct Lane<J> {
    running: usize,
    waiting: Vec<J>,
}

/// What becomes of a computation that wants to begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entrance<J> {
    /// It begins now, alone, and ends with [`Gatherings::leave`].
    Alone(J),
    /// It waits. Who comes first sees to it that [`Gatherings::due`] is called in time.
    First,
    /// It waits with others.
    Joined,
}

impl<L: Hash + Eq + Clone, J> Gatherings<L, J> {
    /// Begins a computation, or lets it wait where one is running.
    pub fn enter(&self, lane: &L, job: J) -> Entrance<J> {
        let mut lanes = self.lock();
        let Some(busy) = lanes.get_mut(lane) else {
            lanes.insert(lane.clone(), Lane { running: 1, waiting: Vec::new() });
            return Entrance::Alone(job);
        };
        busy.waiting.push(job);
        if busy.waiting.len() == 1 { Entrance::First } else { Entrance::Joined }
    }

    /// Begins a computation beside one that is running, and ends with [`Gatherings::leave`] like it. Tells whether there is one; if not,
    /// nothing has begun.
    pub fn enter_beside(&self, lane: &L) -> bool {
        let mut lanes = self.lock();
        let busy = lanes.get_mut(lane);
        busy.map(|busy| busy.running += 1).is_some()
    }

    /// Whether a computation is running.
    pub fn is_busy(&self, lane: &L) -> bool {
        self.lock().contains_key(lane)
    }

    /// Ends a computation. Those that waited go on together as one, unless there are none.
    pub fn leave(&self, lane: &L) -> Vec<J> {
        let mut lanes = self.lock();
        let Some(busy) = lanes.get_mut(lane) else { return Vec::new() };
        busy.running -= 1;
        let together = busy.depart();
        if busy.running == 0 {
            lanes.remove(lane);
        }
        together
    }

    /// Ends the wait beside a computation that takes longer: those that waited begin together as one, unless they are gone.
    pub fn due(&self, lane: &L) -> Vec<J> {
        self.lock().get_mut(lane).map_or_else(Vec::new, Lane::depart)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<L, Lane<J>>> {
        // Nothing that can panic runs under this lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L, J> Default for Gatherings<L, J> {
    fn default() -> Self {
        Gatherings { lanes: Mutex::new(HashMap::new()) }
    }
}

impl<J> Lane<J> {
    fn depart(&mut self) -> Vec<J> {
        let together = std::mem::take(&mut self.waiting);
        self.running += usize::from(!together.is_empty());
        together
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_while_one_runs_goes_together() {
        let gatherings: Gatherings<&str, u32> = Gatherings::default();
        assert_eq!(gatherings.enter(&"a", 1), Entrance::Alone(1));
        assert_eq!(gatherings.enter(&"b", 2), Entrance::Alone(2), "other rows have nothing in common");
        assert_eq!(gatherings.enter(&"a", 3), Entrance::First);
        assert_eq!(gatherings.enter(&"a", 4), Entrance::Joined);
        assert_eq!(gatherings.leave(&"a"), [3, 4]);
        assert_eq!(gatherings.enter(&"a", 5), Entrance::First, "the two still run");
        assert_eq!(gatherings.leave(&"a"), [5]);
        assert_eq!(gatherings.leave(&"a"), [0; 0]);
        assert_eq!(gatherings.enter(&"a", 6), Entrance::Alone(6));
    }

    #[test]
    fn who_goes_beside_one_leaves_those_who_wait_to_the_first_that_ends() {
        let gatherings: Gatherings<&str, u32> = Gatherings::default();
        assert!(!gatherings.is_busy(&"a") && !gatherings.enter_beside(&"a"));
        assert_eq!(gatherings.enter(&"a", 1), Entrance::Alone(1));
        assert_eq!(gatherings.enter(&"a", 2), Entrance::First);
        assert!(gatherings.is_busy(&"a") && gatherings.enter_beside(&"a"));
        assert_eq!(gatherings.leave(&"a"), [2]);
        assert_eq!((gatherings.leave(&"a"), gatherings.leave(&"a")), (vec![], vec![]));
        assert!(!gatherings.is_busy(&"a"));
    }

    #[test]
    fn nobody_waits_longer_than_the_time_for_it() {
        let gatherings: Gatherings<&str, u32> = Gatherings::default();
        assert_eq!(gatherings.enter(&"a", 1), Entrance::Alone(1));
        assert_eq!(gatherings.enter(&"a", 2), Entrance::First);
        assert_eq!(gatherings.due(&"a"), [2]);
        assert_eq!(gatherings.due(&"a"), [0; 0], "they are on their way");
        assert_eq!(gatherings.enter(&"a", 3), Entrance::First);
        assert_eq!(gatherings.leave(&"a"), [3]);
        assert_eq!((gatherings.leave(&"a"), gatherings.leave(&"a")), (vec![], vec![]));
        assert_eq!(gatherings.due(&"a"), [0; 0]);
        assert_eq!(gatherings.enter(&"a", 4), Entrance::Alone(4));
    }
}
