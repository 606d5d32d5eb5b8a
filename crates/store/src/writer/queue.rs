//! The queue of submissions and the hand-over of groups, behind one mutex.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Submission;
use super::group::Group;
use crate::error::StoreError;

/// Shared by callers, preparer, committer and flusher.
#[derive(Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    /// The preparer waits here.
    work: Condvar,
    /// The committer waits here.
    handover: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Submission>,
    /// Bytes submitted and not yet answered.
    bytes: u64,
    closed: bool,
    /// The group the committer is to take.
    handed: Option<Group>,
    /// The committer works on a group.
    committing: bool,
    /// The preparer ended: there will be no more groups.
    prepared_all: bool,
    /// A flush is under way.
    flushing: bool,
    /// Something happened the preparer should look at.
    poked: bool,
}

/// What the preparer finds when it looks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct QueueFacts {
    /// Submissions wait.
    pub waiting: bool,
    /// The committer would take a group at once.
    pub committer_idle: bool,
    /// A flush is under way.
    pub flushing: bool,
    /// No submission will come any more.
    pub closed: bool,
}

/// A submission that was not taken.
pub struct Refused {
    /// Why.
    pub error: StoreError,
    /// What.
    pub submission: Submission,
}

impl Queue {
    /// Adds a submission; refused when the store is closed or too many bytes wait.
    pub fn push(&self, submission: Submission, bytes_max: u64) -> Result<(), Box<Refused>> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Box::new(Refused { error: StoreError::Closed, submission }));
        }
        let bytes = submission.bytes();
        // One request larger than the limit still passes when it is alone.
        if inner.bytes > 0 && inner.bytes + bytes > bytes_max {
            return Err(Box::new(Refused { error: StoreError::Full, submission }));
        }
        inner.bytes += bytes;
        inner.waiting.push_back(submission);
        if inner.waiting.len() == 1 {
            self.work.notify_one();
        }
        Ok(())
    }

    /// No submission is taken from now on; those that wait are still written.
    pub fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    /// Bytes submitted and not yet answered.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Gives back the bytes of answered submissions.
    pub fn release(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
    }

    /// Makes the preparer look again.
    pub fn poke(&self) {
        self.lock().poked = true;
        self.work.notify_one();
    }

    /// What the preparer can do now.
    pub fn facts(&self) -> QueueFacts {
        self.lock().facts()
    }

    /// Waits until `enough` holds, somebody pokes, or the time is over.
    pub fn wait(&self, until: Option<Instant>, enough: impl Fn(&QueueFacts) -> bool) {
        let mut inner = self.lock();
        while !std::mem::take(&mut inner.poked) && !enough(&inner.facts()) {
            inner = match until {
                None => self.work.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    self.work.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The next submissions, at most so many bytes of them, at least one if any waits.
    pub fn take(&self, bytes_max: u64) -> Vec<Submission> {
        let mut inner = self.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(next) = inner.waiting.front() {
            bytes += next.bytes();
            if !taken.is_empty() && bytes > bytes_max {
                break;
            }
            taken.extend(inner.waiting.pop_front());
        }
        taken
    }

    /// Gives a group to the committer, which must be idle.
    pub fn hand_over(&self, group: Group) {
        let mut inner = self.lock();
        inner.handed = Some(group);
        self.handover.notify_one();
    }

    /// The preparer ends.
    pub fn end_groups(&self) {
        self.lock().prepared_all = true;
        self.handover.notify_one();
    }

    /// Waits for the next group; `None` when there will be none.
    pub fn next_group(&self) -> Option<Group> {
        let mut inner = self.lock();
        inner.committing = false;
        self.work.notify_one();
        loop {
            if let Some(group) = inner.handed.take() {
                inner.committing = true;
                return Some(group);
            }
            if inner.prepared_all {
                return None;
            }
            inner = self.handover.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says whether a flush is under way.
    pub fn set_flushing(&self, flushing: bool) {
        self.lock().flushing = flushing;
        self.work.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn facts(&self) -> QueueFacts {
        QueueFacts {
            waiting: !self.waiting.is_empty(),
            committer_idle: !self.committing && self.handed.is_none(),
            flushing: self.flushing,
            closed: self.closed,
        }
    }
}
