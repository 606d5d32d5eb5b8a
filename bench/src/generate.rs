//! Writes traces to NDJSON files, a thread per core. What a trace holds is in `trace`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use serde_json::json;

use crate::random::Permutation;
use crate::trace::Traces;

#[derive(clap::Args)]
pub struct Options {
    /// How many rows in all.
    #[arg(long)]
    rows: u64,
    /// Rows of another seed are other rows.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// How many days the rows span; the last one ends at 2026-10-31T00:00:00Z.
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// The same rows in random order instead of time order.
    #[arg(long)]
    shuffle: bool,
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows_per_file: u64,
    /// The folder for the files `traces-00000.ndjson` and so on; made if it is not there.
    #[arg(long)]
    out: PathBuf,
}

/// The seed of the rows that all phases share.
pub const SEED: u64 = 1;
/// A write of this size costs little per byte and keeps the buffer in the cache.
const WRITE_BYTES: usize = 256 * 1024;

pub fn run(options: &Options) -> anyhow::Result<serde_json::Value> {
    fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    let started = Instant::now();
    let files = options.rows.div_ceil(options.rows_per_file);
    let traces = Traces::new(options.rows, options.seed, options.days);
    let order = options.shuffle.then(|| Permutation::new(options.rows, options.seed));
    let next_file = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let bytes = std::thread::scope(|scope| -> anyhow::Result<u64> {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<u64> {
                    let mut bytes = 0;
                    loop {
                        let file = next_file.fetch_add(1, Ordering::Relaxed);
                        if file >= files {
                            return Ok(bytes);
                        }
                        let rows = file * options.rows_per_file
                            ..options.rows.min((file + 1) * options.rows_per_file);
                        let path = options.out.join(format!("traces-{file:05}.ndjson"));
                        bytes += write_file(&path, &traces, order.as_ref(), rows)
                            .with_context(|| format!("cannot write {}", path.display()))?;
                    }
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a writer does not panic")).sum()
    })?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(json!({
        "rows": options.rows, "files": files, "bytes": bytes, "seconds": seconds,
        "rows_per_s": options.rows as f64 / seconds,
        "bytes_per_row": bytes as f64 / options.rows.max(1) as f64,
    }))
}

fn write_file(
    path: &Path,
    traces: &Traces,
    order: Option<&Permutation>,
    positions: std::ops::Range<u64>,
) -> std::io::Result<u64> {
    let mut file = File::create(path)?;
    let mut buffer = Vec::with_capacity(WRITE_BYTES + 1024);
    let mut bytes = 0;
    for position in positions {
        let row = order.map_or(position, |order| order.at(position));
        traces.row(row).write_json(&mut buffer);
        if buffer.len() >= WRITE_BYTES {
            file.write_all(&buffer)?;
            bytes += buffer.len() as u64;
            buffer.clear();
        }
    }
    file.write_all(&buffer)?;
    Ok(bytes + buffer.len() as u64)
}
