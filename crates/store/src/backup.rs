//! Backup of a live store into another folder, and restore from such a folder.
//!
//! A backup is a data folder of its own: files are copied first, its catalog is written last, so a copy without a catalog
//! is an unfinished one. It gets a new identity, since its history parts from the original's.

use std::path::Path;
use std::sync::Arc;

use crate::catalog::{Catalog, CatalogChange, CatalogContent};
use crate::disk::{Disk, DiskFile, DiskRef};
use crate::error::{StoreError, StoreResult};
use crate::paths;
use crate::recovery::lock;
use crate::segment::segment_path;
use crate::shared::Shared;
use crate::sidecar::sidecar_path;
use crate::version::StoreId;

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Copies what is flushed. Segments stay as long as the snapshot lives; runs are opened before any can go.
pub fn backup(shared: &Shared, target: &Path) -> StoreResult<()> {
    let disk = &shared.disk;
    refuse_used(disk.as_ref(), target)?;
    let (content, kv, runs, _snapshot) = {
        let _change = shared.change();
        let content = shared.catalog.load()?;
        let open = |id: u64| open_run(disk.as_ref(), &shared.config.data_dir, id);
        let runs = content.runs.iter().map(|row| open(row.id)).collect::<StoreResult<Vec<_>>>()?;
        (content, shared.catalog.kv_all()?, runs, shared.snapshot())
    };
    copy_runs(disk.as_ref(), &content, &runs, target)?;
    copy_segments(disk.as_ref(), &content, &shared.config.data_dir, target)?;
    copy_sidecars(disk.as_ref(), &content, &shared.config.data_dir, target)?;
    write_catalog(disk, content, kv, target)
}

/// Makes a data folder from a backup, or from a copy of a data folder that no process uses.
pub fn restore(disk: &DiskRef, source: &Path, data_dir: &Path) -> StoreResult<()> {
    refuse_used(disk.as_ref(), data_dir)?;
    let _lock = lock(disk.as_ref(), source)?;
    let catalog = Catalog::open_existing(disk, source)?;
    let content = catalog.load()?;
    let open = |id: u64| open_run(disk.as_ref(), source, id);
    let runs = content.runs.iter().map(|row| open(row.id)).collect::<StoreResult<Vec<_>>>()?;
    copy_runs(disk.as_ref(), &content, &runs, data_dir)?;
    copy_segments(disk.as_ref(), &content, source, data_dir)?;
    copy_sidecars(disk.as_ref(), &content, source, data_dir)?;
    copy_log(disk.as_ref(), source, data_dir)?;
    write_catalog(disk, content, catalog.kv_all()?, data_dir)
}

fn refuse_used(disk: &dyn Disk, dir: &Path) -> StoreResult<()> {
    let used = !disk.list(dir).map_err(StoreError::io("list", dir))?.is_empty();
    if used { Err(StoreError::NotEmpty { path: dir.to_owned() }) } else { Ok(()) }
}

fn open_run(disk: &dyn Disk, data_dir: &Path, id: u64) -> StoreResult<Arc<dyn DiskFile>> {
    let path = paths::run_path(data_dir, id);
    disk.open_read(&path).map_err(StoreError::io("open", &path))
}

fn copy_runs(
    disk: &dyn Disk,
    content: &CatalogContent,
    runs: &[Arc<dyn DiskFile>],
    target: &Path,
) -> StoreResult<()> {
    let dir = paths::run_dir(target);
    disk.create_dir_all(&dir).map_err(StoreError::io("make", &dir))?;
    for (row, file) in content.runs.iter().zip(runs) {
        copy(disk, file.as_ref(), &paths::run_path(target, row.id))?;
    }
    disk.sync_dir(&dir).map_err(StoreError::io("sync", &dir))
}

fn copy_segments(disk: &dyn Disk, content: &CatalogContent, source: &Path, target: &Path) -> StoreResult<()> {
    for meta in &content.segments {
        let Some((_, row)) = content.datasets.iter().find(|(id, _)| *id == meta.dataset) else { continue };
        let path = |data_dir: &Path| segment_path(data_dir, &row.name, meta.day, meta.id);
        copy_dated(disk, &path(source), &path(target))?;
    }
    Ok(())
}

fn copy_sidecars(disk: &dyn Disk, content: &CatalogContent, source: &Path, target: &Path) -> StoreResult<()> {
    for meta in content.sidecars.iter().filter(|meta| meta.has_file()) {
        let Some((_, row)) = content.datasets.iter().find(|(id, _)| *id == meta.dataset) else { continue };
        let path = |data_dir: &Path| sidecar_path(data_dir, &row.name, meta.day, meta.id);
        copy_dated(disk, &path(source), &path(target))?;
    }
    Ok(())
}

/// Copies a file that lies in the folder of a day.
fn copy_dated(disk: &dyn Disk, from: &Path, to: &Path) -> StoreResult<()> {
    let dir = to.parent().unwrap_or(Path::new("."));
    disk.create_dir_all(dir).map_err(StoreError::io("make", dir))?;
    let file = disk.open_read(from).map_err(StoreError::io("open", from))?;
    copy(disk, file.as_ref(), to)?;
    disk.sync_dir(dir).map_err(StoreError::io("sync", dir))
}

fn copy_log(disk: &dyn Disk, source: &Path, target: &Path) -> StoreResult<()> {
    let (from, to) = (paths::log_dir(source), paths::log_dir(target));
    disk.create_dir_all(&to).map_err(StoreError::io("make", &to))?;
    for path in disk.list(&from).map_err(StoreError::io("list", &from))? {
        let Some(first) = paths::log_first_lsn(&path) else { continue };
        let file = disk.open_read(&path).map_err(StoreError::io("open", &path))?;
        copy(disk, file.as_ref(), &paths::log_path(target, first))?;
    }
    disk.sync_dir(&to).map_err(StoreError::io("sync", &to))
}

fn copy(disk: &dyn Disk, from: &dyn DiskFile, to: &Path) -> StoreResult<()> {
    let file = disk.create(to).map_err(StoreError::io("create", to))?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    loop {
        let read = from.read_at(&mut buffer, offset).map_err(StoreError::io("read for a copy to", to))?;
        if read == 0 {
            break;
        }
        file.write_at(&buffer[..read], offset).map_err(StoreError::io("write", to))?;
        offset += read as u64;
    }
    file.sync_data().map_err(StoreError::io("sync", to))
}

fn write_catalog(
    disk: &DiskRef,
    content: CatalogContent,
    kv: Vec<(String, String, Vec<u8>)>,
    target: &Path,
) -> StoreResult<()> {
    let change = CatalogChange {
        flushed: Some(content.flushed),
        store_id: Some(StoreId(crate::random::random_u64())),
        dedup_seed: Some(content.dedup_seed),
        next_segment: Some(content.next_segment),
        next_run: Some(content.next_run),
        next_dataset: Some(content.next_dataset),
        put_datasets: content.datasets,
        add_segments: content.segments,
        add_sidecars: content.sidecars,
        add_runs: content.runs,
        add_tombstones: content.tombstones,
        latest: content.latest,
        kv_put: kv,
        ..CatalogChange::default()
    };
    Catalog::create_with(disk.as_ref(), target, &change).map(drop)
}
