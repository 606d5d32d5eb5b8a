//! Reading rows in parallel: threads take morsels until there are none.
//!
//! Morsels (and whatever else is a [`Task`]) stand in lanes, one for each part of the data whose rows belong together; a thread stays in a
//! lane as long as it can. What is
//! done with the rows is the [`Consumer`]'s; each thread has its own, and they are joined afterwards. After each morsel a thread's
//! share queues again, so that questions take turns (`turns`). Of a short reading the thread that asked does one share itself while the
//! pool has a seat; of a long one it does none, because what many threads have allocated is given back late.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use tidewater_store::{Morsel, ScanBatch};

use crate::control::Control;
use crate::error::ExecuteError;
use crate::pool::{Pool, Queue};

/// A reading with at most so many tasks for each of its threads is short.
const SHORT_TASKS: usize = 4;

/// What one thread reads at a time.
pub(crate) trait Task: Send + 'static {
    /// What it is read in.
    type Batch: Batch;

    /// At most so many rows.
    fn rows_max(&self) -> u64;

    /// Starts reading.
    fn read(self) -> Result<impl Iterator<Item = Result<Self::Batch, ExecuteError>>, ExecuteError>;
}

/// Rows that were read.
pub(crate) trait Batch {
    /// How many the scan covers.
    fn rows(&self) -> u64;

    /// Bytes of decoded columns.
    fn bytes(&self) -> u64;
}

/// Takes the rows of one thread.
pub(crate) trait Consumer<B>: Send + 'static {
    /// A batch of a lane with at least one row that the scan covers.
    fn take(&mut self, lane: usize, batch: B) -> Result<(), ExecuteError>;
}

/// Tasks by lane, and which lanes no thread has begun.
struct Lanes<T> {
    lanes: Vec<VecDeque<T>>,
    fresh: usize,
}

impl<T> Lanes<T> {
    /// The next task for a thread that was in a lane: of the same one, else of one that nobody has begun, else of the one with
    /// most left.
    fn next(&mut self, lane: Option<usize>) -> Option<(usize, T)> {
        let same = lane.filter(|lane| !self.lanes[*lane].is_empty());
        let lane = same.or_else(|| self.next_fresh()).or_else(|| self.fullest())?;
        self.lanes[lane].pop_front().map(|task| (lane, task))
    }

    fn next_fresh(&mut self) -> Option<usize> {
        let rest = &self.lanes[self.fresh..];
        let skipped = rest.iter().position(|lane| !lane.is_empty())?;
        self.fresh += skipped + 1;
        Some(self.fresh - 1)
    }

    fn fullest(&self) -> Option<usize> {
        (0..self.lanes.len())
            .filter(|lane| !self.lanes[*lane].is_empty())
            .max_by_key(|lane| self.lanes[*lane].len())
    }
}

struct Job<T, C> {
    lanes: Mutex<Lanes<T>>,
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

/// Reads everything; gives back the consumers, at least one. Blocks.
pub(crate) fn read_all<T: Task, C: Consumer<T::Batch>>(
    pool: &Pool,
    lanes: Vec<Vec<T>>,
    control: &Control,
    mut consumer: impl FnMut() -> Result<C, ExecuteError>,
) -> Result<Vec<C>, ExecuteError> {
    control.check()?;
    control.progress.expect(lanes.iter().flatten().map(T::rows_max).sum());
    let tasks: usize = lanes.iter().map(Vec::len).sum();
    let threads = pool.threads().min(tasks).max(1);
    let mut consumers = (0..threads).map(|_| consumer()).collect::<Result<Vec<_>, _>>()?;
    if tasks == 0 {
        return Ok(consumers);
    }
    let own = if tasks <= threads * SHORT_TASKS { consumers.pop() } else { None };
    let job = Arc::new(Job {
        lanes: Mutex::new(Lanes { lanes: lanes.into_iter().map(VecDeque::from).collect(), fresh: 0 }),
        control: control.clone(),
        has_failed: AtomicBool::new(false),
        outcome: Mutex::new(Outcome { parts: Vec::new(), running: threads, error: None }),
        done: Condvar::new(),
    });
    pool.queue().begin(control.progress.share());
    for consumer in consumers {
        submit(Arc::clone(&job), Arc::clone(pool.queue()), consumer, None);
    }
    if let Some(own) = own {
        take_part(&job, pool.queue(), own);
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
fn submit<T: Task, C: Consumer<T::Batch>>(
    job: Arc<Job<T, C>>,
    queue: Arc<Queue>,
    mut consumer: C,
    lane: Option<usize>,
) {
    let next = Arc::clone(&queue);
    let share = Arc::clone(job.control.progress.share());
    let task = move || match job.timed_step(&next, &mut consumer, lane) {
        Ok(lane @ Some(_)) => submit(job, next, consumer, lane),
        Ok(None) => job.finish(consumer, None),
        Err(error) => job.finish(consumer, Some(error)),
    };
    queue.submit(share, Box::new(task));
}

/// Does a share in this thread as long as there is a seat for it; from then on it queues like any other.
fn take_part<T: Task, C: Consumer<T::Batch>>(job: &Arc<Job<T, C>>, queue: &Arc<Queue>, mut consumer: C) {
    if !queue.sit_down() {
        return submit(Arc::clone(job), Arc::clone(queue), consumer, None);
    }
    let mut lane = None;
    loop {
        match job.timed_step(queue, &mut consumer, lane) {
            Ok(next @ Some(_)) => lane = next,
            Ok(None) => break job.finish(consumer, None),
            Err(error) => break job.finish(consumer, Some(error)),
        }
        if !queue.may_stay() {
            break submit(Arc::clone(job), Arc::clone(queue), consumer, lane);
        }
    }
    queue.stand_up();
}

impl<T: Task, C: Consumer<T::Batch>> Job<T, C> {
    /// [`Self::step`], with its panics caught, and its time told to the pool.
    fn timed_step(
        &self,
        queue: &Queue,
        consumer: &mut C,
        lane: Option<usize>,
    ) -> Result<Option<usize>, ExecuteError> {
        let began = Instant::now();
        let step = catch_unwind(AssertUnwindSafe(|| self.step(consumer, lane)));
        queue.serve(self.control.progress.share(), began.elapsed());
        step.unwrap_or(Err(ExecuteError::Panicked))
    }

    /// Reads one task and says of which lane; `None` if there is none left.
    fn step(&self, consumer: &mut C, lane: Option<usize>) -> Result<Option<usize>, ExecuteError> {
        let Some((lane, task)) = lock(&self.lanes).next(lane) else { return Ok(None) };
        for batch in task.read()? {
            self.control.check()?;
            if self.has_failed.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let batch = batch?;
            let (rows, bytes) = (batch.rows(), batch.bytes());
            self.control.progress.scanned(rows, bytes);
            if rows > 0 {
                consumer.take(lane, batch)?;
            }
        }
        Ok(Some(lane))
    }

    fn finish(&self, consumer: C, error: Option<ExecuteError>) {
        if error.is_some() {
            self.has_failed.store(true, Ordering::Relaxed);
            lock(&self.lanes).lanes.iter_mut().for_each(VecDeque::clear);
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

impl Task for Morsel {
    type Batch = ScanBatch;

    fn rows_max(&self) -> u64 {
        Morsel::rows_max(self)
    }

    fn read(self) -> Result<impl Iterator<Item = Result<ScanBatch, ExecuteError>>, ExecuteError> {
        Ok(Morsel::read(self)?.map(|batch| Ok(batch?)))
    }
}

impl Batch for ScanBatch {
    fn rows(&self) -> u64 {
        self.selection.as_ref().map_or(self.rows, |selection| selection.count_set_bits()) as u64
    }

    fn bytes(&self) -> u64 {
        self.columns.iter().flatten().map(column_bytes).sum::<usize>() as u64
    }
}

/// Bytes of a column's values without what batches share.
pub(crate) fn column_bytes(array: &ArrayRef) -> usize {
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
