//! The limit of open files of this process. It calls the system directly: the standard library has no function for it.
#![expect(unsafe_code, reason = "getrlimit and setrlimit are C functions")]

/// Files besides connections that the server opens at most in sane use: segments, logs, sidecars.
const OTHER_FILES: u64 = 2_048;

/// Raises the soft limit of open files, which is 1,024 on many systems, so far that `connections` fit; never over the hard limit.
/// Says in the log where they do not fit.
pub fn raise_limit(connections: usize) {
    let wanted = connections as u64 + OTHER_FILES;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live value of the type the call fills in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 || limit.rlim_cur >= wanted {
        return;
    }
    let raised = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), rlim_max: limit.rlim_max };
    // SAFETY: the pointer is to a live value, which the call only reads.
    let is_raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0;
    if !is_raised || raised.rlim_cur < wanted {
        let open_files_max = if is_raised { raised.rlim_cur } else { limit.rlim_cur };
        tracing::warn!(open_files_max, wanted, "fewer files may be open than connections are allowed");
    }
}
