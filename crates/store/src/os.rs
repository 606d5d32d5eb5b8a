//! The few system calls the standard library does not offer. All of this crate's `unsafe` is here.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::disk::DiskSpace;

/// Room on the file system that holds `dir`.
pub fn space(dir: &Path) -> io::Result<DiskSpace> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    let mut facts = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` is a NUL-terminated string and `facts` a writable statvfs; both outlive the call.
    let result = unsafe { libc::statvfs(path.as_ptr(), facts.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a zeroed statvfs is a valid value (plain integers), and the call that succeeded filled it.
    let facts = unsafe { facts.assume_init() };
    #[allow(clippy::unnecessary_cast, reason = "the fields' widths differ between platforms")]
    let (free, all, size) = (facts.f_bavail as u64, facts.f_blocks as u64, facts.f_frsize as u64);
    Ok(DiskSpace { free_bytes: free.saturating_mul(size), total_bytes: all.saturating_mul(size) })
}

/// Reserves blocks for the first `len` bytes and makes the file at least that long. Where the file system cannot reserve,
/// the file only grows.
pub fn preallocate(file: &File, len: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let length = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // SAFETY: the descriptor is open for the length of the call because `file` is borrowed.
        let result = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) };
        match result {
            0 => return Ok(()),
            libc::EOPNOTSUPP | libc::EINVAL => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
    if file.metadata()?.len() < len { file.set_len(len) } else { Ok(()) }
}

/// Nice value of the flush and of what it starts: a third of a normal thread's share when both are busy, and a question that wakes up
/// goes first. Not less, since ingest waits for a flush that is late.
pub const NICE_FLUSH: i32 = 5;
/// Nice value of background threads: an eighth of a normal thread's share when both are busy.
pub const NICE_BACKGROUND: i32 = 10;

/// Lowers the calling thread's CPU priority, and that of threads it starts, so that its work does not slow ingest and queries.
/// Best effort: a system that refuses runs the thread at normal priority.
pub fn lower_thread_priority(nice: i32) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: gettid takes no arguments and cannot fail.
        let thread = unsafe { libc::gettid() };
        // SAFETY: plain integers; on Linux `setpriority` of a thread id touches that thread only.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, thread as libc::id_t, nice) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}

/// Lowers the calling thread's disk priority, likewise.
pub fn lower_disk_priority() {
    #[cfg(target_os = "linux")]
    {
        /// `IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7)`, linux/ioprio.h: the last of the best-effort levels.
        const IOPRIO_LOWEST_BEST_EFFORT: libc::c_int = (2 << 13) | 7;
        /// `IOPRIO_WHO_PROCESS`, where 0 names the calling thread.
        const IOPRIO_WHO_PROCESS: libc::c_int = 1;
        // SAFETY: the call takes plain integers.
        unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_LOWEST_BEST_EFFORT) };
    }
}
