//! A disk in memory that can fail a call, tear a write, and lose what was not synced, as a power cut does.
//!
//! It is for tests, of this crate and of those above. The model: a file is an inode with durable bytes and a list of changes
//! since its last sync; a folder is a list of names with changes since its last sync. [`FakeDisk::crash`] keeps a random
//! part of the unsynced changes: any subset of a file's changes (each write possibly only in part), and a prefix of a
//! folder's (file systems journal names in order).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile, DiskSpace};

/// What happens at a chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call does nothing and fails; later calls work.
    Fail,
    /// As `Fail`, and so does every later call that changes anything: a disk that went away.
    FailForEver,
    /// A write is done in part, any other call not at all; from then on every call fails: the moment of a power cut.
    PowerCut,
}

/// How much of what was not synced survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing that was not synced.
    LoseAll,
    /// Everything, as after SIGKILL: the kernel lives on.
    KeepAll,
    /// A random part, drawn from this seed.
    Random(u64),
}

/// Smallest unit a torn write keeps, in bytes: a disk sector.
const SECTOR: usize = 512;

/// See the module. Clones share the same disk.
#[derive(Clone, Debug, Default)]
pub struct FakeDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<u64, Inode>,
    /// Names as programs see them now.
    names: BTreeMap<PathBuf, u64>,
    /// Names a crash surely leaves.
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since their folder's last sync, by folder.
    pending_names: HashMap<PathBuf, Vec<NameChange>>,
    /// Folders are durable as soon as they are made, as [`Disk::create_dir_all`] promises.
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    next_inode: u64,
    /// Calls so far that change something.
    calls: u64,
    faults: BTreeMap<u64, Fault>,
    dead: Option<Fault>,
    free_bytes: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
    Rename { from: PathBuf, to: PathBuf },
}

impl FakeDisk {
    /// An empty disk.
    pub fn new() -> Self {
        FakeDisk::default()
    }

    /// Calls made so far that change something (create, rename, remove, write, grow, sync). The next one has this number.
    pub fn calls(&self) -> u64 {
        self.lock_state().calls
    }

    /// Plans a fault at the call with this number.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.lock_state().faults.insert(call, fault);
    }

    /// Pretends that so many bytes are free; `None` for plenty.
    pub fn set_free_bytes(&self, free_bytes: Option<u64>) {
        self.lock_state().free_bytes = free_bytes;
    }

    /// Changes a byte of a file behind everybody's back.
    ///
    /// # Panics
    /// When there is no such byte: the test has named the wrong file.
    pub fn damage(&self, path: &Path, offset: u64) {
        let mut state = self.lock_state();
        let inode = state.names[path];
        let file = state.files.get_mut(&inode).expect("every name has an inode");
        file.current[offset as usize] ^= 0x5a;
        if let Some(byte) = file.durable.get_mut(offset as usize) {
            *byte ^= 0x5a;
        }
    }

    /// The disk a machine finds when it comes up again. This one stays as it is.
    pub fn crash(&self, crash: Crash) -> FakeDisk {
        let state = self.lock_state();
        let mut dice = Dice(match crash {
            Crash::Random(seed) => seed,
            Crash::LoseAll | Crash::KeepAll => 0,
        });
        let mut names = state.durable_names.clone();
        let mut folders: Vec<_> = state.pending_names.iter().collect();
        folders.sort_by_key(|(folder, _)| folder.as_path());
        for (_, changes) in folders {
            let kept = match crash {
                Crash::LoseAll => 0,
                Crash::KeepAll => changes.len(),
                Crash::Random(_) => dice.below(changes.len() + 1),
            };
            changes[..kept].iter().for_each(|change| change.apply(&mut names));
        }
        let mut inodes: Vec<u64> = names.values().copied().collect();
        inodes.sort_unstable();
        inodes.dedup();
        let mut files = HashMap::new();
        for inode in inodes {
            let bytes = state.files[&inode].after(crash, &mut dice);
            files.insert(inode, Inode { current: bytes.clone(), durable: bytes, pending: Vec::new() });
        }
        let survivor = State {
            files,
            durable_names: names.clone(),
            names,
            dirs: state.dirs.clone(),
            next_inode: state.next_inode,
            ..State::default()
        };
        FakeDisk { state: Arc::new(Mutex::new(survivor)) }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        // A panicking test thread leaves plain data behind, which is still what the next check wants to see.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn file(&self, path: &Path) -> io::Result<FakeFile> {
        let state = self.lock_state();
        if state.dead == Some(Fault::PowerCut) {
            return Err(injected());
        }
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(FakeFile { disk: self.clone(), inode })
    }
}

impl State {
    /// Counts a call that changes something; an error when it must not take place. `Ok(true)` asks for half a write.
    fn step(&mut self) -> io::Result<bool> {
        if self.dead.is_some() {
            return Err(injected());
        }
        let call = self.calls;
        self.calls += 1;
        match self.faults.get(&call).copied() {
            None => Ok(false),
            Some(Fault::Fail) => Err(injected()),
            Some(Fault::FailForEver) => {
                self.dead = Some(Fault::FailForEver);
                Err(injected())
            }
            Some(Fault::PowerCut) => {
                self.dead = Some(Fault::PowerCut);
                Ok(true)
            }
        }
    }

    /// As [`State::step`] for calls that cannot be done in part.
    fn step_whole(&mut self) -> io::Result<()> {
        if self.step()? { Err(injected()) } else { Ok(()) }
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        let folder = match &change {
            NameChange::Link(path, _) | NameChange::Unlink(path) => path,
            NameChange::Rename { to, .. } => to,
        };
        let folder = folder.parent().unwrap_or(Path::new("")).to_owned();
        self.pending_names.entry(folder).or_default().push(change);
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Unlink(path) => {
                names.remove(path);
            }
            NameChange::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    fn after(&self, crash: Crash, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.pending {
            match crash {
                Crash::LoseAll => {}
                Crash::KeepAll => change.apply(&mut bytes),
                Crash::Random(_) => match (dice.below(3), change) {
                    (0, _) => {}
                    (1, Change::Write { offset, bytes: written }) => {
                        let kept = dice.below(written.len() / SECTOR + 1) * SECTOR;
                        let part = Change::Write { offset: *offset, bytes: written[..kept].to_vec() };
                        part.apply(&mut bytes);
                    }
                    _ => change.apply(&mut bytes),
                },
            }
        }
        bytes
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => {
                let from = *offset as usize;
                if file.len() < from + bytes.len() {
                    file.resize(from + bytes.len(), 0);
                }
                file[from..from + bytes.len()].copy_from_slice(bytes);
            }
            Change::SetLen(len) => file.resize(*len as usize, 0),
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough randomness for tests, the same on every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

fn injected() -> io::Error {
    io::Error::other("injected fault")
}

impl Disk for FakeDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock_state();
        state.step_whole()?;
        if !path.parent().is_some_and(|parent| parent.as_os_str().is_empty() || state.dirs.contains(parent)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = match state.names.get(path) {
            Some(inode) => *inode,
            None => {
                let inode = state.next_inode;
                state.next_inode += 1;
                state.files.insert(inode, Inode::default());
                state.change_names(NameChange::Link(path.to_owned(), inode));
                inode
            }
        };
        state.files.get_mut(&inode).expect("every name has an inode").change(Change::SetLen(0));
        Ok(Box::new(FakeFile { disk: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(self.file(path)?))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.file(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "a rename stays in its folder");
        let mut state = self.lock_state();
        state.step_whole()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(NameChange::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.step_whole()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.lock_state();
        if state.dead == Some(Fault::PowerCut) {
            return Err(injected());
        }
        let all = state.names.keys().chain(state.dirs.iter());
        let inside: BTreeSet<PathBuf> = all.filter(|path| path.parent() == Some(dir)).cloned().collect();
        Ok(inside.into_iter().collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        if state.dirs.contains(dir) {
            return Ok(());
        }
        state.step_whole()?;
        for ancestor in dir.ancestors() {
            state.dirs.insert(ancestor.to_owned());
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.step_whole()?;
        let changes = state.pending_names.remove(dir).unwrap_or_default();
        changes.iter().for_each(|change| change.apply(&mut state.durable_names));
        Ok(())
    }

    fn space(&self, _dir: &Path) -> io::Result<DiskSpace> {
        Ok(DiskSpace { free_bytes: self.lock_state().free_bytes.unwrap_or(u64::MAX), total_bytes: u64::MAX })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        if !self.lock_state().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FakeLock { disk: self.clone(), path: path.to_owned() }))
    }
}

struct FakeLock {
    disk: FakeDisk,
    path: PathBuf,
}

impl Drop for FakeLock {
    fn drop(&mut self) {
        self.disk.lock_state().locks.remove(&self.path);
    }
}

/// An open file; it stays usable after its name is gone, as on Unix.
#[derive(Debug)]
struct FakeFile {
    disk: FakeDisk,
    inode: u64,
}

impl FakeFile {
    fn read<T>(&self, read: impl FnOnce(&Inode) -> T) -> io::Result<T> {
        let state = self.disk.lock_state();
        if state.dead == Some(Fault::PowerCut) {
            return Err(injected());
        }
        Ok(read(&state.files[&self.inode]))
    }
}

impl DiskFile for FakeFile {
    fn len(&self) -> io::Result<u64> {
        self.read(|inode| inode.current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read(|inode| {
            let from = inode.current.len().min(offset as usize);
            let read = buffer.len().min(inode.current.len() - from);
            buffer[..read].copy_from_slice(&inode.current[from..from + read]);
            read
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock_state();
        let torn = state.step()?;
        let kept = if torn { &bytes[..bytes.len() / 2] } else { bytes };
        let inode = state.files.get_mut(&self.inode).expect("an open file has an inode");
        inode.change(Change::Write { offset, bytes: kept.to_vec() });
        if torn { Err(injected()) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock_state();
        state.step_whole()?;
        let inode = state.files.get_mut(&self.inode).expect("an open file has an inode");
        inode.change(Change::SetLen(len));
        Ok(())
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        if self.len()? < len { self.set_len(len) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock_state();
        state.step_whole()?;
        let inode = state.files.get_mut(&self.inode).expect("an open file has an inode");
        for change in std::mem::take(&mut inode.pending) {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }
}
