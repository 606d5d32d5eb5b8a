//! What the operating system says about this process and its machine. On systems without `/proc` most of it is absent.
//!
//! Read when somebody asks: a few small files, no thread of its own.

use std::fs::read_to_string;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// Ticks a second in `/proc/PID/stat`: `USER_HZ`, which Linux keeps at 100 for programs on every architecture Rust's server
/// targets run on (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICKS_PER_SECOND: f64 = 100.0;
/// Control groups without a limit say a number near 2⁶³ (version 1) or `max` (version 2).
const NO_LIMIT: u64 = 1 << 60;

/// Figures of the process at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessFacts {
    /// Processor time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Processors it may use.
    pub cpus: usize,
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, in bytes.
    pub virtual_bytes: Option<u64>,
    /// The most memory it may have: of its control group, else of the machine, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// File descriptors it may have open.
    pub max_fds: Option<u64>,
    /// Bytes it made the disk read and write.
    pub disk_bytes: Option<(u64, u64)>,
    /// Bytes received and sent by its network namespace.
    pub network_bytes: Option<(u64, u64)>,
}

/// Resident memory, in bytes.
pub fn resident_bytes() -> Option<u64> {
    let status = read_to_string("/proc/self/status").ok()?;
    field(&status, "VmRSS:").map(|kib| kib * 1_024)
}

impl ProcessFacts {
    /// Looks.
    pub fn read() -> Self {
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        let io = read_to_string("/proc/self/io").unwrap_or_default();
        let limits = read_to_string("/proc/self/limits").unwrap_or_default();
        ProcessFacts {
            cpu_seconds: read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            resident_bytes: field(&status, "VmRSS:").map(|kib| kib * 1_024),
            virtual_bytes: field(&status, "VmSize:").map(|kib| kib * 1_024),
            memory_limit_bytes: memory_limit(),
            threads: field(&status, "Threads:"),
            open_fds: std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            max_fds: field(&limits, "Max open files"),
            disk_bytes: field(&io, "read_bytes:").zip(field(&io, "write_bytes:")),
            network_bytes: read_to_string("/proc/self/net/netstat")
                .ok()
                .and_then(|text| network_bytes(&text)),
        }
    }
}

/// When the process started, in seconds since the epoch: when this was first asked for, which `main` does.
pub fn start_time_seconds() -> f64 {
    static START: OnceLock<f64> = OnceLock::new();
    *START
        .get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()))
}

/// The first number after a word at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time: the 14th and 15th field; the second one, the name, may hold spaces and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn memory_limit() -> Option<u64> {
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let of_group = groups.iter().find_map(|path| read_to_string(path).ok()?.trim().parse().ok());
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| field(&text, "MemTotal:"));
    let machine = machine.map(|kib| kib * 1_024);
    let limits = of_group.filter(|bytes: &u64| *bytes < NO_LIMIT).into_iter().chain(machine);
    limits.min()
}

/// `InOctets` and `OutOctets` of `IpExt`: a line of names, then a line of values.
fn network_bytes(text: &str) -> Option<(u64, u64)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let value = |wanted: &str| -> Option<u64> {
        let place = names.split_whitespace().position(|name| name == wanted)?;
        values.split_whitespace().nth(place)?.parse().ok()
    };
    value("InOctets").zip(value("OutOctets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read_by_their_fields() {
        let stat = "4711 (tide) water) S 1 4711 4711 0 -1 4194304 117 0 0 0 250 50 7 8 20 0 9 0 2437713";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(field("VmSize:\t  20 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(
            field(
                "Max open files            1024                 524288               files",
                "Max open files"
            ),
            Some(1_024)
        );
        let netstat = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 70 80\n";
        assert_eq!(network_bytes(netstat), Some((70, 80)));
        assert_eq!(network_bytes("IpExt: InOctets\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_figures() {
        let facts = ProcessFacts::read();
        assert!(facts.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{facts:?}");
        assert!(facts.threads.is_some_and(|threads| threads >= 1) && facts.open_fds.is_some(), "{facts:?}");
        assert!(facts.cpu_seconds.is_some() && facts.memory_limit_bytes > facts.resident_bytes, "{facts:?}");
    }
}
