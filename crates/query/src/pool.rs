//! The threads questions are computed on: a fixed number at a time, apart from those that serve the network.
//!
//! Tasks are short (one morsel) and queue again for their next one, so that a long question and a short one take turns. So many may run
//! at a time as there are seats, one for each thread of the pool. A thread that waits for its question may take a free seat and
//! work on it itself, which saves waking another; a thread of the pool sleeps meanwhile. Not here: whose turn it is (`turns`).

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::turns::{Share, Turns};

/// A piece of work. It must catch its own panics.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// Running threads; dropped, they end after the tasks that wait.
pub(crate) struct Pool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

/// Where tasks wait.
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    turns: Turns<Task>,
    seats_free: usize,
    closed: bool,
}

impl Queue {
    /// A reading of the question with this share begins.
    pub fn begin(&self, share: &Share) {
        self.lock().turns.begin(share);
    }

    /// Queues a task of a reading that has begun.
    pub fn submit(&self, share: Arc<Share>, task: Task) {
        let mut state = self.lock();
        state.turns.push(share, task);
        // Where no seat is free, whoever gives one up takes the task or wakes somebody for it.
        if state.seats_free > 0 {
            self.wake.notify_one();
        }
    }

    /// A task of the question with this share has been done that took so long.
    pub fn serve(&self, share: &Share, took: Duration) {
        self.lock().turns.serve(share, took);
    }

    /// Takes a seat, if there is one for every task that waits and one more.
    pub fn sit_down(&self) -> bool {
        let mut state = self.lock();
        let is_free = state.seats_free > state.turns.len();
        state.seats_free -= usize::from(is_free);
        is_free
    }

    /// Whether who has a seat may keep it: there is a free one for every task that waits.
    pub fn may_stay(&self) -> bool {
        let state = self.lock();
        state.seats_free >= state.turns.len()
    }

    /// Gives a seat back.
    pub fn stand_up(&self) {
        let mut state = self.lock();
        state.seats_free += 1;
        if state.turns.len() > 0 {
            self.wake.notify_one();
        }
    }

    /// Tasks that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.lock().turns.len()
    }

    /// The next task, with a seat; `None` once the pool has ended. `has_seat` tells that the seat of the task before is still taken.
    fn next(&self, has_seat: bool) -> Option<Task> {
        let mut state = self.lock();
        state.seats_free += usize::from(has_seat);
        loop {
            if state.seats_free > 0
                && let Some(task) = state.turns.pop()
            {
                state.seats_free -= 1;
                return Some(task);
            }
            if state.closed && state.turns.len() == 0 {
                self.wake.notify_all();
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// # Panics
    /// When the operating system gives no thread: the server cannot work then.
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let state = State { turns: Turns::default(), seats_free: threads, closed: false };
        let queue = Arc::new(Queue { state: Mutex::new(state), wake: Condvar::new() });
        let spawn = |index| {
            let queue = Arc::clone(&queue);
            let run = move || {
                let mut has_seat = false;
                while let Some(task) = queue.next(has_seat) {
                    task();
                    has_seat = true;
                }
            };
            let builder = std::thread::Builder::new().name(format!("query-{index}"));
            builder.spawn(run).expect("a thread can be started when the server starts")
        };
        let threads = (0..threads).map(spawn).collect();
        Pool { queue, threads }
    }

    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A thread cannot have panicked: tasks catch theirs.
            drop(thread.join());
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Queues a task that tells that it runs, and ends when it is told to.
    fn hold(queue: &Arc<Queue>, share: &Arc<Share>) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((tell, runs), (end, ended)) = (mpsc::channel(), mpsc::channel());
        let task = move || {
            // Nobody waits for it where the test has failed.
            let _ = tell.send(());
            let _ = ended.recv();
        };
        queue.submit(Arc::clone(share), Box::new(task));
        (runs, end)
    }

    #[test]
    fn no_more_run_than_there_are_seats() {
        let pool = Pool::new(2);
        let (queue, share) = (pool.queue(), Arc::new(Share::default()));
        queue.begin(&share);
        assert!(queue.sit_down(), "both seats are free");
        let (first, end_first) = hold(queue, &share);
        first.recv().expect("a thread has the second seat");
        assert!(!queue.sit_down(), "no seat is left");
        assert!(queue.may_stay(), "nobody waits");
        let (second, _end_second) = hold(queue, &share);
        assert!(!queue.may_stay(), "somebody waits for a seat");
        assert!(second.try_recv().is_err(), "two run already");
        queue.stand_up();
        second.recv().expect("the seat is somebody else's now");
        end_first.send(()).expect("the first task waits");
    }

    #[test]
    fn what_waits_is_done_before_the_pool_ends() {
        let pool = Pool::new(1);
        let (queue, share) = (Arc::clone(pool.queue()), Arc::new(Share::default()));
        assert!(queue.sit_down());
        let (done, is_done) = mpsc::channel();
        for _ in 0..3 {
            let done = done.clone();
            queue.submit(Arc::clone(&share), Box::new(move || done.send(()).expect("the test waits")));
        }
        let ending = std::thread::spawn(move || drop(pool));
        queue.stand_up();
        ending.join().expect("the pool ends");
        assert_eq!(is_done.try_iter().count(), 3);
    }
}
