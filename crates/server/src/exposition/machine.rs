//! The process and the machine it runs on.

use crate::metrics::{Families, Figure, Kind, ProcessFacts, start_time_seconds};

pub fn collect(out: &mut Families) {
    let facts = ProcessFacts::read();
    let build =
        out.family("tidewater_build_info", Kind::Gauge, "Always 1; the label tells the version that runs.");
    build.add(&[("version", env!("CARGO_PKG_VERSION"))], 1_u8);
    let help = "When the process started, in seconds since 1970.";
    out.single("process_start_time_seconds", Kind::Gauge, help, start_time_seconds());
    let help = "Processors the server may use; rate(process_cpu_seconds_total) divided by it is the load.";
    out.single("tidewater_cpus", Kind::Gauge, help, facts.cpus);
    present(
        out,
        "process_cpu_seconds_total",
        Kind::Counter,
        "Processor time, user and system.",
        facts.cpu_seconds,
    );
    let mut gauge = |name, help, value: Option<u64>| present(out, name, Kind::Gauge, help, value);
    gauge("process_resident_memory_bytes", "Resident memory.", facts.resident_bytes);
    gauge("process_virtual_memory_bytes", "Address space.", facts.virtual_bytes);
    gauge(
        "tidewater_memory_limit_bytes",
        "Memory the process may have: the limit of its control group, else the machine's memory.",
        facts.memory_limit_bytes,
    );
    gauge("process_threads", "Threads.", facts.threads);
    gauge("process_open_fds", "Open file descriptors, connections included.", facts.open_fds);
    gauge("process_max_fds", "File descriptors the process may have open.", facts.max_fds);
    let (read, written) = facts.disk_bytes.unzip();
    let (received, sent) = facts.network_bytes.unzip();
    let mut counter = |name, help, value: Option<u64>| present(out, name, Kind::Counter, help, value);
    counter("tidewater_disk_read_bytes_total", "Bytes the process made the disk read.", read);
    counter("tidewater_disk_written_bytes_total", "Bytes the process made the disk write.", written);
    let help = "Bytes received over the network by the process's network namespace, loopback included.";
    counter("process_network_receive_bytes_total", help, received);
    let help = "Bytes sent over the network by the process's network namespace, loopback included.";
    counter("process_network_transmit_bytes_total", help, sent);
}

/// A metric that not every operating system has.
fn present<N: Figure>(
    out: &mut Families,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: Option<N>,
) {
    if let Some(value) = value {
        out.single(name, kind, help, value);
    }
}
