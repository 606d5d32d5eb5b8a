//! A flush takes as long as it takes: writers must not notice.
//!
//! The story: a guard taken in the head of a `for` loop lives until the loop ends. The flush held the store's state that
//! way while it wrote segments, and every commit waited half a second for it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tidewater_store::disk::{Disk, DiskFile, DiskSpace, FakeDisk};

use crate::world::{World, config, row};

/// Long beside any commit on the fake disk, so that only a commit that really waits for the flush exceeds it.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(20);

/// Holds whoever creates a segment's file until the gate is opened.
#[derive(Debug, Default)]
struct Gate {
    /// Somebody waits; the gate is open.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        let _open = self.changed.wait_while(state, |(_, open)| !*open).unwrap();
    }

    fn wait_until_somebody_waits(&self) {
        let _waits = self.changed.wait_while(self.state.lock().unwrap(), |(waits, _)| !*waits).unwrap();
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

#[derive(Debug)]
struct GatedDisk {
    inner: FakeDisk,
    gate: Arc<Gate>,
}

impl Disk for GatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if path.to_string_lossy().contains("/raw/") {
            self.gate.pass();
        }
        self.inner.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.inner.open(path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open_read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        self.inner.space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock(path)
    }
}

#[test]
fn rows_are_acknowledged_while_a_flush_writes() {
    let gate = Arc::new(Gate::default());
    let disk = GatedDisk { inner: FakeDisk::default(), gate: Arc::clone(&gate) };
    let world = World::open(config("/data"), Arc::new(disk)).unwrap();
    world.put(&[row("before", 1)]);
    let store = world.store.clone();
    let flush = std::thread::spawn(move || store.flush());
    gate.wait_until_somebody_waits();
    let during = world.begin("p", &[row("during", 2)], None).recv_timeout(COMMIT_WAIT_MAX);
    gate.open();
    flush.join().unwrap().unwrap();
    assert_eq!(during.expect("the commit does not wait for the flush").unwrap().accepted, 1);
    assert_eq!(world.rows(), [row("before", 1), row("during", 2)]);
}
