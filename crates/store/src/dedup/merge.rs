//! Merging runs into one, streaming: memory is one read buffer per input and the new filter.

use std::path::PathBuf;
use std::sync::Arc;

use super::bloom;
use super::run::{Run, RunBuilder, RunKind, key_of};
use super::tokens;
use crate::disk::DiskRef;
use crate::error::StoreResult;

/// Entries read from an input at once: 64 KiB of ids.
const ENTRIES_PER_READ: u64 = 4_096;

/// Writes and syncs the merge of `inputs`, all of one kind, ordered from old to new. Of entries with one key the newest stays.
pub fn merge_runs(
    disk: &DiskRef,
    path: PathBuf,
    id: u64,
    inputs: &[Arc<Run>],
    ids_max: u64,
) -> StoreResult<Run> {
    let kind = inputs.first().map_or(RunKind::Ids, |run| run.facts().kind);
    let count_max = inputs.iter().map(|run| run.facts().count).sum();
    let bits = match kind {
        RunKind::Ids => bloom::bits_per_key(ids_max),
        RunKind::Tokens => tokens::BITS_PER_TOKEN,
    };
    let mut builder = RunBuilder::create(disk, path, id, kind, count_max, bits)?;
    let mut cursors = inputs.iter().map(Cursor::new).collect::<StoreResult<Vec<_>>>()?;
    while let Some(key) = cursors.iter().filter_map(Cursor::key).min() {
        let mut newest = None;
        for cursor in cursors.iter_mut().filter(|cursor| cursor.key() == Some(key)) {
            newest = Some((cursor.run, cursor.entry().to_vec()));
            cursor.step()?;
        }
        if let Some((run, entry)) = newest {
            match kind {
                RunKind::Ids => builder.push(&entry)?,
                RunKind::Tokens => tokens::push(&mut builder, key, &tokens::read(run, &entry)?)?,
            }
        }
    }
    let min_us = inputs.iter().map(|run| run.facts().min_us).min().unwrap_or(0);
    let max_us = inputs.iter().map(|run| run.facts().max_us).max().unwrap_or(0);
    let run = builder.finish(min_us, max_us)?;
    run.sync()?;
    Ok(run)
}

/// A place in one input.
struct Cursor<'a> {
    run: &'a Run,
    buffer: Vec<u8>,
    place: usize,
    next: u64,
}

impl<'a> Cursor<'a> {
    fn new(run: &'a Arc<Run>) -> StoreResult<Self> {
        let buffer = run.read_entries(0, ENTRIES_PER_READ)?;
        Ok(Cursor { run, buffer, place: 0, next: ENTRIES_PER_READ })
    }

    fn entry(&self) -> &[u8] {
        &self.buffer[self.place..self.place + self.run.facts().kind.width()]
    }

    fn key(&self) -> Option<u128> {
        (self.place < self.buffer.len()).then(|| key_of(self.entry()))
    }

    fn step(&mut self) -> StoreResult<()> {
        self.place += self.run.facts().kind.width();
        if self.place >= self.buffer.len() && self.next < self.run.facts().count {
            self.buffer = self.run.read_entries(self.next, ENTRIES_PER_READ)?;
            self.next += ENTRIES_PER_READ;
            self.place = 0;
        }
        Ok(())
    }
}
