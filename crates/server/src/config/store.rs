//! `[store]`: the embedded store.

use serde::{Deserialize, Serialize};

/// The embedded store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// The data folder; made where it is not there. Default `tidewater-data`. `TIDEWATER_STORE__DATA_DIR`, flag `--data`.
    pub data_dir: String,
    /// Where `POST /api/v1/backup` writes. Default empty: `backups` in the data folder. Another disk is safer.
    /// `TIDEWATER_STORE__BACKUP_DIR`.
    pub backup_dir: String,
    /// Bytes of rows in memory that start a flush. Default 32 MiB. `TIDEWATER_STORE__MEMTABLE_BYTES_MAX`.
    pub memtable_bytes_max: u64,
    /// Milli-seconds without a write after which rows in memory are flushed. Default 30,000.
    /// `TIDEWATER_STORE__FLUSH_INTERVAL_MS`.
    pub flush_interval_ms: u64,
    /// Bytes of log that start a flush; bounds the replay after a crash. Default 256 MiB.
    /// `TIDEWATER_STORE__LOG_BYTES_MAX`.
    pub log_bytes_max: u64,
    /// Bytes reserved for one log file. Default 32 MiB. `TIDEWATER_STORE__LOG_FILE_BYTES`.
    pub log_file_bytes: u64,
    /// Bytes of log written with one sync at most. Default 8 MiB. `TIDEWATER_STORE__GROUP_BYTES_MAX`.
    pub group_bytes_max: u64,
    /// Micro-seconds between two syncs while several writers wait. Default 1,000. `TIDEWATER_STORE__GROUP_WAIT_US`.
    pub group_wait_us: u64,
    /// Bytes of rows that wait to become durable; past it ingest answers 503. Default 48 MiB.
    /// `TIDEWATER_STORE__QUEUE_BYTES_MAX`.
    pub queue_bytes_max: u64,
    /// Bytes that stay free on the disk; below it ingest answers 507. Default 512 MiB.
    /// `TIDEWATER_STORE__DISK_FREE_MIN_BYTES`.
    pub disk_free_min_bytes: u64,
    /// Row ids remembered for deduplication, at most. Default 50,000,000. `TIDEWATER_STORE__IDS_MAX`.
    pub ids_max: u64,
    /// Idempotency tokens remembered, at most. Default 1,000,000. `TIDEWATER_STORE__TOKENS_MAX`.
    pub tokens_max: u64,
    /// Milli-seconds between two looks for compaction and retention work. Default 1,000.
    /// `TIDEWATER_STORE__MAINTENANCE_INTERVAL_MS`.
    pub maintenance_interval_ms: u64,
    /// Milli-seconds without new rows after which a day's segments become one, up to ten times as long where few of its rows are new.
    /// Default 120,000. `TIDEWATER_STORE__SETTLE_AFTER_MS`.
    pub settle_after_ms: u64,
}

impl Default for StoreSection {
    fn default() -> Self {
        let data_dir = "tidewater-data".to_owned();
        let defaults = tidewater_store::StoreConfig::new(&data_dir);
        StoreSection {
            data_dir,
            backup_dir: String::new(),
            memtable_bytes_max: defaults.memtable_bytes_max,
            flush_interval_ms: defaults.flush_interval_ms,
            log_bytes_max: defaults.log_bytes_max,
            log_file_bytes: defaults.log_file_bytes,
            group_bytes_max: defaults.group_bytes_max,
            group_wait_us: defaults.group_wait_us,
            queue_bytes_max: defaults.queue_bytes_max,
            disk_free_min_bytes: defaults.disk_free_min_bytes,
            ids_max: defaults.ids_max,
            tokens_max: defaults.tokens_max,
            maintenance_interval_ms: defaults.maintenance_interval_ms,
            settle_after_ms: defaults.compaction.settle_after_ms,
        }
    }
}

impl StoreSection {
    /// The store's own form.
    pub fn to_store_config(&self) -> tidewater_store::StoreConfig {
        let defaults = tidewater_store::StoreConfig::new(&self.data_dir);
        let mut compaction = defaults.compaction;
        compaction.settle_after_ms = self.settle_after_ms;
        tidewater_store::StoreConfig {
            memtable_bytes_max: self.memtable_bytes_max,
            flush_interval_ms: self.flush_interval_ms,
            log_bytes_max: self.log_bytes_max,
            log_file_bytes: self.log_file_bytes,
            group_bytes_max: self.group_bytes_max,
            group_wait_us: self.group_wait_us,
            queue_bytes_max: self.queue_bytes_max,
            disk_free_min_bytes: self.disk_free_min_bytes,
            ids_max: self.ids_max,
            tokens_max: self.tokens_max,
            maintenance_interval_ms: self.maintenance_interval_ms,
            compaction,
            ..defaults
        }
    }
}
