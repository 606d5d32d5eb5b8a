//! The committer: writes a group, syncs it, shows it, answers.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::group::{FlushJob, Group};
use crate::error::{StoreError, StoreResult};
use crate::log::LogFile;
use crate::shared::Shared;

/// Runs until the preparer ends. Flushes go to `flusher`.
pub fn run_committer(shared: &Arc<Shared>, flusher: &Sender<FlushJob>) {
    let mut log = None;
    while let Some(mut group) = shared.queue.next_group() {
        let written = match shared.health.poisoned() {
            Some(cause) => Err(StoreError::Poisoned { cause }),
            None => write(shared, &mut log, &group).inspect_err(|error| shared.poison(error)),
        };
        let bytes = group.queued_bytes;
        match written {
            Ok(()) => {
                show(shared, &mut group, flusher);
                group.replies.into_iter().for_each(|(done, reply)| done(reply));
            }
            Err(_) => refuse(shared, group),
        }
        shared.queue.release(bytes);
    }
}

fn write(shared: &Shared, log: &mut Option<LogFile>, group: &Group) -> StoreResult<()> {
    if group.frames.is_empty() {
        return Ok(());
    }
    let config = &shared.config;
    if let Some(header) = &group.open {
        *log = None;
        *log = Some(LogFile::create(shared.disk.as_ref(), &config.data_dir, header, config.log_file_bytes)?);
    }
    let file = log.as_mut().expect("the first group opens a file");
    let started = Instant::now();
    file.append(&group.frames)?;
    shared.counters.synced(&group.submitted, started, started.elapsed(), group.frames.len() as u64);
    Ok(())
}

fn show(shared: &Shared, group: &mut Group, flusher: &Sender<FlushJob>) {
    let mut state = shared.state();
    let advances = group.through > state.visible();
    let freeze = group.freeze.take();
    if advances || freeze.is_some() {
        let (chunks, tombstones) = (std::mem::take(&mut group.chunks), std::mem::take(&mut group.tombstones));
        state.commit(chunks, tombstones, group.through);
        if freeze.is_some() {
            state.freeze();
        }
        shared.publish(&mut state);
    }
    if let Some(job) = freeze {
        // The flusher ends after the committer does.
        let _ = flusher.send(job);
    }
    drop(state);
    shared.counters.answered(group.replies.len() as u64, group.rows);
    if advances {
        shared.committed(group.through);
    }
}

fn refuse(shared: &Shared, group: Group) {
    let cause = shared.health.poisoned().unwrap_or_else(|| Arc::from("unknown"));
    for (done, _) in group.replies {
        done(Err(StoreError::Poisoned { cause: Arc::clone(&cause) }));
    }
    for waiter in group.freeze.map_or_else(Vec::new, |job| job.waiters) {
        waiter(Err(StoreError::Poisoned { cause: Arc::clone(&cause) }));
    }
}
