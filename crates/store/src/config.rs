//! What a deployment can tune in the store, with units, defaults and reasons.

use std::path::PathBuf;

use crate::compaction::CompactionLimits;

const MIB: u64 = 1 << 20;
const HOUR_US: i64 = 3_600_000_000;

/// Settings of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The data folder. Made when it is not there.
    pub data_dir: PathBuf,
    /// Bytes of rows in memory that start a flush. Default 32 MiB: this memtable, the one being flushed, the flush's sorted copy of it
    /// and the groups of its roll-ups fit the memory target, and a flush yields segments of a few hundred thousand rows.
    pub memtable_bytes_max: u64,
    /// Milli-seconds without a write after which rows in memory are flushed. Default 30,000: long enough that a trickle does
    /// not become thousands of files, short enough that an idle store has nothing to replay.
    pub flush_interval_ms: u64,
    /// Bytes of log that start a flush. Default 256 MiB, which bounds the replay after a crash.
    pub log_bytes_max: u64,
    /// Bytes reserved for one log file. Default 32 MiB: few enough that an idle store stays small.
    pub log_file_bytes: u64,
    /// Bytes of log written with one sync at most. Default 8 MiB: longer groups only add latency.
    pub group_bytes_max: u64,
    /// Micro-seconds between two groups while several writers wait; a lone writer never waits. Default 1,000: on a disk that
    /// syncs in 0.2 ms it spares most of the thread switches and costs under a milli-second.
    pub group_wait_us: u64,
    /// Bytes of submitted rows that are not yet durable, at most; above it submits are refused. Default 48 MiB.
    pub queue_bytes_max: u64,
    /// Bytes that must stay free on the disk: below it rows are refused while deletes, retention and queries go on.
    /// Default 512 MiB, room for a full log and a few compactions.
    pub disk_free_min_bytes: u64,
    /// How long row ids and idempotency tokens are remembered at least, in micro-seconds. Default 24 h.
    pub dedup_window_us: i64,
    /// Row ids remembered at most; beyond it the oldest go early. Default 50 million.
    pub ids_max: u64,
    /// Idempotency tokens remembered at most; beyond it the oldest go early. Default 1 million.
    pub tokens_max: u64,
    /// Row ids held in memory before they are written to a sorted run. Default 229,376: 7/8 of 2¹⁸ slots of a hash set.
    pub recent_ids_max: usize,
    /// Bytes of tokens and remembered replies held in memory before they are written to a run. Default 4 MiB.
    pub recent_token_bytes_max: usize,
    /// Milli-seconds between two looks for compaction and retention work. Default 1,000.
    pub maintenance_interval_ms: u64,
    /// When segments are merged.
    pub compaction: CompactionLimits,
}

impl StoreConfig {
    /// The defaults for a data folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        StoreConfig {
            data_dir: data_dir.into(),
            memtable_bytes_max: 32 * MIB,
            flush_interval_ms: 30_000,
            log_bytes_max: 256 * MIB,
            log_file_bytes: 32 * MIB,
            group_bytes_max: 8 * MIB,
            group_wait_us: 1_000,
            queue_bytes_max: 48 * MIB,
            disk_free_min_bytes: 512 * MIB,
            dedup_window_us: 24 * HOUR_US,
            ids_max: 50_000_000,
            tokens_max: 1_000_000,
            recent_ids_max: (1 << 18) / 8 * 7,
            recent_token_bytes_max: 4 << 20,
            maintenance_interval_ms: 1_000,
            compaction: CompactionLimits::default(),
        }
    }
}
