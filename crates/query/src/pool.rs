//! The threads questions are computed on: a fixed number, apart from those that serve the network.
//!
//! Tasks are short (one morsel) and queue again for their next one, so that a long question and a short one take turns. Not here:
//! whose turn it is (`turns`).

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

#[derive(Default)]
struct State {
    turns: Turns<Task>,
    closed: bool,
}

impl Queue {
    /// A reading of the question with this share begins.
    pub fn begin(&self, share: &Share) {
        self.lock().turns.begin(share);
    }

    /// Queues a task of a reading that has begun.
    pub fn submit(&self, share: Arc<Share>, task: Task) {
        self.lock().turns.push(share, task);
        self.wake.notify_one();
    }

    /// A task of the question with this share has been done that took so long.
    pub fn serve(&self, share: &Share, took: Duration) {
        self.lock().turns.serve(share, took);
    }

    /// Tasks that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.lock().turns.len()
    }

    /// The next task; `None` once the pool has ended.
    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if let Some(task) = state.turns.pop() {
                return Some(task);
            }
            if state.closed {
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
        let queue = Arc::new(Queue { state: Mutex::default(), wake: Condvar::new() });
        let spawn = |index| {
            let queue = Arc::clone(&queue);
            let run = move || {
                while let Some(task) = queue.next() {
                    task();
                }
            };
            let builder = std::thread::Builder::new().name(format!("query-{index}"));
            builder.spawn(run).expect("a thread can be started when the server starts")
        };
        let threads = (0..threads.max(1)).map(spawn).collect();
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
