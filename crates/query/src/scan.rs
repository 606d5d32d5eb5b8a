//! Reading all rows a request selects, in parallel: threads take morsels until there are none.
//!
//! What is done with the rows is the [`Consumer`]'s; each thread has its own, and they are joined afterwards. After each morsel
//! a thread goes to the end of the pool's queue, so that questions take turns.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use tidewater_store::{Morsel, ScanBatch};

use crate::control::Control;
use crate::error::ExecuteError;
use crate::pool::{Pool, Queue};

/// Takes the rows of one thread.
pub(crate) trait Consumer: Send + 'static {
    /// A batch with at least one selected row.
    fn take(&mut self, batch: ScanBatch) -> Result<(), ExecuteError>;
}

struct Job<C> {
    morsels: Mutex<VecDeque<Morsel>>,
    control: Control,
    has_failed: AtomicBool,
    outcome: Mutex<Outcome<C>>,
    done: Condvar,
}

struct Outcome<C> {
    parts: Vec<C>,
    running: usize,
    error: Option<ExecuteError>,
}

/// Reads all morsels; gives back the consumers, at least one. Blocks.
pub(crate) fn read_all<C: Consumer>(
    pool: &Pool,
    morsels: Vec<Morsel>,
    control: &Control,
    mut consumer: impl FnMut() -> Result<C, ExecuteError>,
) -> Result<Vec<C>, ExecuteError> {
    control.check()?;
    control.progress.expect(morsels.iter().map(Morsel::rows_max).sum());
    let threads = pool.threads().min(morsels.len()).max(1);
    let consumers = (0..threads).map(|_| consumer()).collect::<Result<Vec<_>, _>>()?;
    if morsels.is_empty() {
        return Ok(consumers);
    }
    let job = Arc::new(Job {
        morsels: Mutex::new(morsels.into()),
        control: control.clone(),
        has_failed: AtomicBool::new(false),
        outcome: Mutex::new(Outcome { parts: Vec::new(), running: threads, error: None }),
        done: Condvar::new(),
    });
    for consumer in consumers {
        submit(Arc::clone(&job), Arc::clone(pool.queue()), consumer);
    }
    let mut outcome = lock(&job.outcome);
    while outcome.running > 0 {
        outcome = job.done.wait(outcome).unwrap_or_else(PoisonError::into_inner);
    }
    match outcome.error.take() {
        Some(error) => Err(error),
        None => Ok(std::mem::take(&mut outcome.parts)),
    }
}

/// Queues the next step of one thread's share.
fn submit<C: Consumer>(job: Arc<Job<C>>, queue: Arc<Queue>, mut consumer: C) {
    let next = Arc::clone(&queue);
    queue.submit(Box::new(move || {
        let step = catch_unwind(AssertUnwindSafe(|| job.step(&mut consumer)));
        match step.unwrap_or(Err(ExecuteError::Panicked)) {
            Ok(true) => submit(job, next, consumer),
            Ok(false) => job.finish(consumer, None),
            Err(error) => job.finish(consumer, Some(error)),
        }
    }));
}

impl<C: Consumer> Job<C> {
    /// Reads one morsel; `false` if there is none left.
    fn step(&self, consumer: &mut C) -> Result<bool, ExecuteError> {
        let Some(morsel) = lock(&self.morsels).pop_front() else { return Ok(false) };
        for batch in morsel.read()? {
            self.control.check()?;
            if self.has_failed.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let batch = batch?;
            let rows = batch.selection.as_ref().map_or(batch.rows, |selection| selection.count_set_bits());
            let bytes: usize = batch.columns.iter().flatten().map(decoded_bytes).sum();
            self.control.progress.scanned(rows as u64, bytes as u64);
            if rows > 0 {
                consumer.take(batch)?;
            }
        }
        Ok(true)
    }

    fn finish(&self, consumer: C, error: Option<ExecuteError>) {
        if error.is_some() {
            self.has_failed.store(true, Ordering::Relaxed);
            lock(&self.morsels).clear();
        }
        let mut outcome = lock(&self.outcome);
        outcome.parts.push(consumer);
        outcome.running -= 1;
        // The first cause; the other threads only stop because of it.
        outcome.error = outcome.error.take().or(error);
        self.done.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of a column's values without what batches share.
fn decoded_bytes(array: &ArrayRef) -> usize {
    let rows = array.len();
    match array.data_type() {
        DataType::Boolean => rows.div_ceil(8),
        DataType::Dictionary(_, _) => rows * size_of::<i32>(),
        DataType::Utf8 => {
            let offsets = array.as_string::<i32>().value_offsets();
            let text = offsets.last().zip(offsets.first()).map_or(0, |(last, first)| last - first);
            text as usize + rows * size_of::<i32>()
        }
        DataType::List(_) | DataType::Map(_, _) => array.get_buffer_memory_size(),
        other => rows * other.primitive_width().unwrap_or(0),
    }
}
