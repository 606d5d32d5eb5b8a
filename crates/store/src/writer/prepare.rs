//! The preparer: decides about every request in order, and fills groups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use tidewater_columns::RowBatch;
use tidewater_model::names::ProjectName;
use tidewater_model::schema::DatasetId;

use super::group::{FlushJob, FlushWaiter, Group};
use super::queue::QueueFacts;
use super::{Done, Receipt, RowsSubmission, Submission};
use crate::chunk::Run;
use crate::dedup::TokenEntry;
use crate::error::{StoreError, StoreResult};
use crate::log::{DeleteRecord, FileHeader, FrameWriter, HEADER_BYTES, RowsHead, RowsRecord};
use crate::memtable::{self, Gathered};
use crate::shared::Shared;
use crate::tombstone::Tombstone;
use crate::version::{Lsn, Version};

/// Groups of fewer requests than this do not make the next group wait: a lone writer gets the disk's own speed.
const SIBLINGS_MIN: usize = 2;
/// Frames from which a group does not wait: the sync is then no longer what dominates.
const GROUP_BYTES_READY: usize = 256 << 10;

/// Where the log stands; owned by the preparer.
#[derive(Debug, Default)]
pub struct LogPosition {
    /// The last record.
    pub last: Lsn,
    /// The file that is being written: its id and its length.
    file: Option<(u128, u64)>,
    /// Bytes written since the last freeze.
    bytes: u64,
}

impl LogPosition {
    /// After recovery: the next record begins a new file.
    pub fn after(last: Lsn, bytes: u64) -> Self {
        LogPosition { last, file: None, bytes }
    }
}

/// The preparer's own state.
pub struct Preparer {
    shared: Arc<Shared>,
    log: LogPosition,
    group: Group,
    gathered: BTreeMap<DatasetId, Gathered>,
    /// Bytes of rows in the group the committer has.
    handed_bytes: u64,
    /// Anything since the last freeze that a flush would make smaller or faster to replay.
    dirty: bool,
    flush_waiters: Vec<FlushWaiter>,
    /// The last write, for the quiet period.
    last_write: Instant,
    /// When the next group may be closed while others wait.
    not_before: Option<Instant>,
}

impl Preparer {
    /// Continues after recovery.
    pub fn new(shared: Arc<Shared>, log: LogPosition) -> Self {
        let dirty = log.bytes > 0;
        Preparer {
            shared,
            log,
            group: Group::default(),
            gathered: BTreeMap::new(),
            handed_bytes: 0,
            dirty,
            flush_waiters: Vec::new(),
            last_write: Instant::now(),
            not_before: None,
        }
    }

    /// Runs until the queue is closed and empty.
    pub fn run(mut self) {
        loop {
            let facts = self.shared.queue.facts();
            if facts.committer_idle {
                self.handed_bytes = 0;
            }
            if self.shared.health.poisoned().is_some() {
                self.refuse_all();
                if facts.closed && !facts.waiting {
                    break;
                }
                self.shared.queue.wait(None, |facts| facts.waiting || facts.closed);
                continue;
            }
            if facts.waiting && self.may_take() {
                let room = self.shared.config.group_bytes_max.saturating_sub(self.group.frames.len() as u64);
                self.shared.queue.take(room).into_iter().for_each(|submission| self.prepare(submission));
                continue;
            }
            if facts.committer_idle && self.wants_freeze(&facts) {
                self.freeze();
            }
            if facts.committer_idle && !self.group.is_empty() && self.may_close(&facts) {
                self.hand_over();
                continue;
            }
            if facts.closed && !facts.waiting && self.group.is_empty() && self.flush_waiters.is_empty() {
                break;
            }
            if !facts.committer_idle && self.merge_chunks() {
                continue;
            }
            self.wait(&facts);
        }
        self.shared.queue.end_groups();
    }

    /// True while the group and the memtable have room.
    fn may_take(&self) -> bool {
        let group_has_room = (self.group.frames.len() as u64) < self.shared.config.group_bytes_max;
        group_has_room && !self.memtable_is_full()
    }

    fn memtable_is_full(&self) -> bool {
        self.memtable_bytes() >= self.shared.config.memtable_bytes_max
            // The other half belongs to the records that are being flushed.
            || self.log.bytes >= self.shared.config.log_bytes_max / 2
    }

    /// Bytes of rows since the last freeze: shown, with the committer, in the group.
    fn memtable_bytes(&self) -> u64 {
        let gathered: usize = self.gathered.values().map(Gathered::memory_bytes).sum();
        self.shared.active_bytes() + self.handed_bytes + gathered as u64
    }

    fn wants_freeze(&self, facts: &QueueFacts) -> bool {
        if facts.flushing {
            return false;
        }
        let asked = !self.flush_waiters.is_empty();
        asked || self.dirty && (self.memtable_is_full() || self.quiet_until() <= Instant::now())
    }

    fn quiet_until(&self) -> Instant {
        self.last_write + Duration::from_millis(self.shared.config.flush_interval_ms)
    }

    fn may_close(&self, facts: &QueueFacts) -> bool {
        let ready =
            self.group.frames.len() >= GROUP_BYTES_READY || self.group.freeze.is_some() || facts.closed;
        ready || self.not_before.is_none_or(|not_before| not_before <= Instant::now())
    }

    fn wait(&self, facts: &QueueFacts) {
        let close = self.not_before.filter(|_| facts.committer_idle && !self.group.is_empty());
        let quiet = (self.dirty && !facts.flushing).then(|| self.quiet_until());
        let until = close.into_iter().chain(quiet).min();
        let seen = *facts;
        let blocked = !self.may_take();
        self.shared.queue.wait(until, |now| {
            (now.waiting && !blocked)
                || now.committer_idle != seen.committer_idle
                || now.flushing != seen.flushing
                || now.closed != seen.closed
        });
    }

    fn prepare(&mut self, submission: Submission) {
        self.group.queued_bytes += submission.bytes();
        match submission {
            Submission::Rows(rows) => self.prepare_rows(*rows),
            Submission::Delete(record, done) => self.prepare_delete(record, done),
            Submission::Flush(waiter) => self.flush_waiters.push(waiter),
        }
    }

    fn prepare_rows(&mut self, mut rows: RowsSubmission) {
        let done = std::mem::replace(&mut rows.done, Box::new(|_| {}));
        self.group.submitted.push(rows.submitted);
        self.group.in_foreground |= !rows.in_background;
        let reply = self.try_rows(rows);
        self.group.replies.push((done, reply));
    }

    fn try_rows(&mut self, rows: RowsSubmission) -> StoreResult<Receipt> {
        let now = self.shared.clock.now();
        let shared = Arc::clone(&self.shared);
        let mut dedup = shared.dedup();
        if let Some(token) = rows.token
            && let Some(first) = dedup.token(token.token_hash, now)?
        {
            return self.repeat(first, token.body_hash);
        }
        let dropped = match rows.ids.is_empty() {
            true => Vec::new(),
            // An error in here may leave ids remembered whose rows are not stored: the store must not go on.
            false => dedup.accept_ids(&rows.ids, now).inspect_err(|error| shared.poison(error))?,
        };
        let duplicates = dropped.len() as u32;
        let accepted = rows.batch.rows() as u32 - duplicates;
        self.group.rows.0 += u64::from(accepted);
        self.group.rows.1 += u64::from(duplicates);
        if accepted == 0 && rows.token.is_none() {
            return Ok(self.receipt(self.log.last, 0, duplicates, rows.extra, false));
        }
        let RowsSubmission { dataset, project, batch, token, extra, payload, .. } = rows;
        let head = RowsHead { dataset, project, accepted_us: now.0, token, accepted, duplicates };
        let (dropped, payload) =
            if accepted == 0 { (Vec::new(), &[][..]) } else { (dropped, payload.as_slice()) };
        let record = RowsRecord { head, dropped, extra, payload };
        let lsn = self.append(|out| record.encode(out));
        if accepted > 0 {
            self.gather(dataset, record.head.project, lsn, drop_rows(batch, &record.dropped));
        }
        if let Some(token) = token {
            let extra = record.extra.clone().into_boxed_slice();
            let entry = TokenEntry { body_hash: token.body_hash, lsn, accepted, duplicates, extra };
            dedup.remember_token(token.token_hash, entry, now).inspect_err(|error| shared.poison(error))?;
        }
        Ok(self.receipt(lsn, accepted, duplicates, record.extra, false))
    }

    fn repeat(&self, first: TokenEntry, body_hash: u128) -> StoreResult<Receipt> {
        if first.body_hash != body_hash {
            return Err(StoreError::TokenConflict);
        }
        Ok(self.receipt(first.lsn, first.accepted, first.duplicates, first.extra.into_vec(), true))
    }

    fn receipt(&self, lsn: Lsn, accepted: u32, duplicates: u32, extra: Vec<u8>, repeated: bool) -> Receipt {
        let version = Version { store: self.shared.store_id, lsn };
        Receipt { lsn, version, accepted, duplicates, extra, repeated }
    }

    fn prepare_delete(&mut self, mut record: DeleteRecord, done: Done) {
        let now = self.shared.clock.now();
        record.accepted_us = now.0;
        self.group.in_foreground = true;
        let reply = self.try_delete(record);
        self.group.replies.push((done, reply));
    }

    fn try_delete(&mut self, record: DeleteRecord) -> StoreResult<Receipt> {
        let tombstone = self.shared.tombstone(self.log.last.next(), &record)?;
        let lsn = self.append(|out| record.encode(out));
        self.group.tombstones.push((record.dataset, tombstone));
        Ok(self.receipt(lsn, 0, 0, Vec::new(), false))
    }

    /// Gives a record its LSN and its place in the log.
    fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Lsn {
        let lsn = self.log.last.next();
        let config = &self.shared.config;
        let full = self.log.file.is_none_or(|(_, bytes)| bytes >= config.log_file_bytes);
        if full && self.group.frames.is_empty() {
            let header = FileHeader::new(lsn);
            self.log.file = Some((header.file_id, HEADER_BYTES));
            self.group.open = Some(header);
        }
        let (file_id, file_bytes) = self.log.file.as_mut().expect("the first record of all opens a file");
        let before = self.group.frames.len();
        let durable = self.shared.durable();
        FrameWriter { file_id: *file_id, durable, out: &mut self.group.frames }.frame(lsn, encode);
        let written = (self.group.frames.len() - before) as u64;
        *file_bytes += written;
        self.log.bytes += written;
        self.log.last = lsn;
        if !self.dirty {
            // Background rows alone are flushed a quiet period after the first of them.
            self.last_write = Instant::now();
        }
        self.dirty = true;
        lsn
    }

    fn gather(&mut self, dataset: DatasetId, project: ProjectName, lsn: Lsn, batch: RowBatch) {
        let run = Run { project, lsn, rows: batch.rows() as u32 };
        self.gathered.entry(dataset).or_default().push(run, batch);
    }

    fn hand_over(&mut self) {
        for (dataset, gathered) in std::mem::take(&mut self.gathered) {
            self.group.chunks.extend(gathered.finish().into_iter().map(|chunk| (dataset, chunk)));
        }
        let mut group = std::mem::take(&mut self.group);
        group.through = self.log.last;
        self.handed_bytes = group.chunks.iter().map(|(_, chunk)| chunk.memory_bytes() as u64).sum();
        let now = Instant::now();
        if !group.frames.is_empty() && group.in_foreground {
            self.last_write = now;
        }
        let wait = Duration::from_micros(self.shared.config.group_wait_us);
        self.not_before = (group.replies.len() >= SIBLINGS_MIN).then(|| now + wait);
        self.shared.queue.hand_over(group);
    }

    /// Makes the current group the last before a flush. The next record begins a new log file, so that the flush can remove
    /// the files before it whole.
    fn freeze(&mut self) {
        let waiters = std::mem::take(&mut self.flush_waiters);
        if !self.dirty {
            waiters.into_iter().for_each(|waiter| waiter(Ok(())));
            return;
        }
        let dedup = self.shared.dedup().freeze();
        self.group.freeze = Some(FlushJob { through: self.log.last, dedup, waiters });
        self.shared.queue.set_flushing(true);
        self.log.file = None;
        self.log.bytes = 0;
        self.dirty = false;
    }

    /// Merges small chunks while the disk is busy anyway. True when something was merged.
    fn merge_chunks(&self) -> bool {
        let Some((dataset, chunks)) = self.shared.state().chunks_to_merge() else { return false };
        let merged = Arc::new(memtable::merge(&chunks));
        let mut state = self.shared.state();
        let replaced = state.replace_chunks(dataset, &chunks, merged);
        if replaced {
            self.shared.publish(&mut state);
        }
        replaced
    }

    fn refuse_all(&mut self) {
        let group = std::mem::take(&mut self.group);
        let cause = self.shared.health.poisoned().unwrap_or_else(|| Arc::from("unknown"));
        let refused = || StoreError::Poisoned { cause: Arc::clone(&cause) };
        group.replies.into_iter().for_each(|(done, _)| done(Err(refused())));
        let frozen = group.freeze.map_or_else(Vec::new, |job| job.waiters);
        let mut waiters: Vec<FlushWaiter> = self.flush_waiters.drain(..).chain(frozen).collect();
        let mut bytes = group.queued_bytes;
        for submission in self.shared.queue.take(u64::MAX) {
            bytes += submission.bytes();
            match submission {
                Submission::Rows(rows) => (rows.done)(Err(refused())),
                Submission::Delete(_, done) => done(Err(refused())),
                Submission::Flush(waiter) => waiters.push(waiter),
            }
        }
        waiters.into_iter().for_each(|waiter| waiter(Err(refused())));
        self.shared.queue.release(bytes);
    }
}

/// The rows that are not at one of the positions, which ascend.
pub fn drop_rows(batch: RowBatch, positions: &[u32]) -> RowBatch {
    if positions.is_empty() {
        return batch;
    }
    let mut kept = BooleanBufferBuilder::new(batch.rows());
    kept.append_n(batch.rows(), true);
    positions.iter().for_each(|position| kept.set_bit(*position as usize, false));
    let kept: BooleanBuffer = kept.finish();
    batch.filter(&kept)
}

/// A delete made ready, for the log and for replay.
pub fn tombstone(
    dataset: &tidewater_model::schema::Dataset,
    lsn: Lsn,
    record: &DeleteRecord,
) -> StoreResult<Arc<Tombstone>> {
    let bad = |reason: String| StoreError::Filter { reason };
    let json = serde_json::from_str(&record.filter).map_err(|error| bad(error.to_string()))?;
    let zone = tidewater_model::time::Zone::utc();
    let filter = tidewater_model::filter::parse_filter(&json, dataset, &zone)
        .map_err(|error| bad(error.to_string()))?;
    let (from_us, to_us) = (record.from_us, record.to_us);
    Tombstone::new(lsn, record.project.clone(), from_us, to_us, Arc::clone(&record.filter), &filter)
        .map(Arc::new)
        .map_err(|error| bad(error.to_string()))
}
