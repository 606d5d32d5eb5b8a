//! Deriving in a thread of its own, beside the one that writes the same rows.
//!
//! Not here: what is derived (`aggregate`), and where it goes (`build`).

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tidewater_aggregate::Derivation;
use tidewater_columns::RowBatch;

use super::build::add;
use crate::error::{StoreError, StoreResult};
use crate::segment::ProjectRows;

/// Batches that wait at most. They are the writer's own, so one that waits takes no room of its own for long.
const WAITING_MAX: usize = 2;
/// The thread's name.
const NAME: &str = "store-derive";

type Part = (RowBatch, Vec<ProjectRows>);

/// A derivation in its thread. Dropped before [`Beside::end`], the thread ends by itself and its work is lost.
pub struct Beside {
    rows: SyncSender<Part>,
    thread: JoinHandle<Derivation>,
}

impl Beside {
    /// Starts the thread.
    pub fn start(derivation: Derivation) -> StoreResult<Self> {
        let (rows, parts) = sync_channel(WAITING_MAX);
        let work = move || derive(derivation, &parts);
        let started = std::thread::Builder::new().name(NAME.to_owned()).spawn(work);
        let thread = started.map_err(StoreError::io("start a thread for", Path::new(NAME)))?;
        Ok(Beside { rows, thread })
    }

    /// Hands on rows in segment order; waits while the thread is behind.
    pub fn add(&self, rows: &RowBatch, projects: &[ProjectRows]) {
        // It fails only where the thread panicked, which `end` passes on.
        let _ = self.rows.send((rows.clone(), projects.to_vec()));
    }

    /// Waits for the thread to have taken all rows.
    ///
    /// # Panics
    /// Where the thread panicked.
    pub fn end(self) -> Derivation {
        drop(self.rows);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn derive(mut derivation: Derivation, parts: &Receiver<Part>) -> Derivation {
    while let Ok((rows, projects)) = parts.recv() {
        add(&mut derivation, &rows, &projects);
    }
    derivation.end_rows();
    derivation
}
