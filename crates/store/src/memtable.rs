//! Chunks of one dataset in memory: which small ones to merge, as a pure decision, and the merging.
//!
//! Requests are often a single row, and a scan has a cost per chunk. Neighbours of similar size are merged like the digits
//! of a binary counter, so a row is copied about log₂(16,384 ÷ request size) times.

use std::ops::Range;
use std::sync::Arc;

use tidewater_columns::RowBatch;

use crate::chunk::{Chunk, Run};

/// Rows from which a chunk is merged no more: enough for a scan to run at full speed.
pub const CHUNK_ROWS_SETTLED: usize = 16_384;
/// Bytes from which a chunk is merged no more: rows can be large.
pub const CHUNK_BYTES_SETTLED: usize = 4 << 20;
/// Requests that are joined into a chunk at once: with more, thousands of tiny arrays are alive together, and the
/// allocator slows down.
const BATCHES_MAX: usize = 256;

/// The size of a chunk, for [`plan_merge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSize {
    /// Rows.
    pub rows: usize,
    /// Bytes.
    pub bytes: usize,
}

impl ChunkSize {
    fn of(chunk: &Chunk) -> Self {
        ChunkSize { rows: chunk.batch().rows(), bytes: chunk.memory_bytes() }
    }

    fn is_settled(self) -> bool {
        self.rows >= CHUNK_ROWS_SETTLED || self.bytes >= CHUNK_BYTES_SETTLED
    }
}

/// The chunks at the end of the list to merge into one: as long as the one before is at most twice as large as all after it.
pub fn plan_merge(sizes: &[ChunkSize]) -> Option<Range<usize>> {
    let mut start = sizes.len();
    let mut rows = 0;
    while let Some(size) = start.checked_sub(1).map(|index| sizes[index]) {
        let fits = start == sizes.len() || size.rows <= 2 * rows;
        if size.is_settled() || !fits {
            break;
        }
        rows += size.rows;
        start -= 1;
    }
    (sizes.len() - start >= 2).then_some(start..sizes.len())
}

/// One chunk with the rows of all, in order.
pub fn merge(chunks: &[Arc<Chunk>]) -> Chunk {
    let batches: Vec<&RowBatch> = chunks.iter().map(|chunk| chunk.batch()).collect();
    let runs = chunks.iter().flat_map(|chunk| chunk.runs()).cloned().collect();
    Chunk::new(RowBatch::concat(&batches), runs)
}

/// Requests of one dataset, in order, as few chunks as fit.
#[derive(Default)]
pub struct Gathered {
    chunks: Vec<Arc<Chunk>>,
    chunk_bytes: usize,
    /// The latest requests, not yet a chunk.
    batches: Vec<RowBatch>,
    runs: Vec<Run>,
    rows: usize,
    batch_bytes: usize,
}

impl Gathered {
    /// Takes the rows of one record.
    pub fn push(&mut self, run: Run, batch: RowBatch) {
        self.rows += batch.rows();
        self.batch_bytes += batch.memory_bytes();
        self.batches.push(batch);
        self.runs.push(run);
        let full = self.rows >= CHUNK_ROWS_SETTLED || self.batch_bytes >= CHUNK_BYTES_SETTLED;
        if full || self.batches.len() >= BATCHES_MAX {
            self.seal();
        }
    }

    /// Bytes it holds. A single row as a batch of its own takes ten times what it takes in a chunk.
    pub fn memory_bytes(&self) -> usize {
        self.chunk_bytes + self.batch_bytes
    }

    /// The chunks.
    pub fn finish(mut self) -> Vec<Arc<Chunk>> {
        self.seal();
        self.chunks
    }

    fn seal(&mut self) {
        let batches = std::mem::take(&mut self.batches);
        let runs = std::mem::take(&mut self.runs);
        (self.rows, self.batch_bytes) = (0, 0);
        let batch = match batches.len() {
            0 => return,
            1 => batches.into_iter().next().expect("there is one"),
            _ => RowBatch::concat(&batches.iter().collect::<Vec<_>>()),
        };
        self.chunks.push(Arc::new(Chunk::new(batch, runs)));
        while let Some(range) = plan_merge(&sizes(&self.chunks)) {
            let merged = Arc::new(merge(&self.chunks[range.clone()]));
            self.chunks.splice(range, [merged]);
        }
        self.chunk_bytes = self.chunks.iter().map(|chunk| chunk.memory_bytes()).sum();
    }
}

/// The sizes of chunks.
pub fn sizes(chunks: &[Arc<Chunk>]) -> Vec<ChunkSize> {
    chunks.iter().map(|chunk| ChunkSize::of(chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[usize], expected: Option<Range<usize>>) {
        let sizes: Vec<ChunkSize> =
            rows.iter().map(|rows| ChunkSize { rows: *rows, bytes: rows * 100 }).collect();
        assert_eq!(plan_merge(&sizes), expected, "{rows:?}");
    }

    #[test]
    fn merges_like_a_counter() {
        check(&[], None);
        check(&[5], None);
        check(&[5, 5], Some(0..2));
        check(&[40, 5], None);
        check(&[10, 5, 5], Some(0..3));
        check(&[20_000, 5, 5], Some(1..3));
        check(&[20_000, 20_000], None);
        check(&[5, 20_000], None);
        check(&[16_000, 9_000], Some(0..2));
    }

    #[test]
    fn single_rows_are_copied_a_logarithmic_number_of_times() {
        let (mut rows, mut copied): (Vec<usize>, usize) = (Vec::new(), 0);
        for request_rows in std::iter::repeat_n(1, 16_384) {
            rows.push(request_rows);
            let sizes: Vec<ChunkSize> = rows.iter().map(|rows| ChunkSize { rows: *rows, bytes: 0 }).collect();
            if let Some(range) = plan_merge(&sizes) {
                let merged: usize = rows.drain(range).sum();
                copied += merged;
                rows.push(merged);
            }
        }
        assert!(rows.len() <= 20, "{} chunks", rows.len());
        assert!(copied <= 16_384 * 20, "{copied} rows copied");
    }
}
