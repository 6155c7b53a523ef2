//! What every process tells about itself, under the names Prometheus gives them.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn describe() {
    describe_gauge!(
        "process_resident_memory_bytes",
        "Resident memory size in bytes."
    );
    describe_gauge!("process_open_fds", "Number of open file descriptors.");
    describe_gauge!(
        "process_max_fds",
        "Maximum number of open file descriptors."
    );
    describe_gauge!("process_threads", "Number of threads.");
    describe_counter!(
        "process_cpu_seconds_total",
        "User and system CPU time in whole seconds."
    );
    describe_gauge!(
        "process_start_time_seconds",
        "Start of the process in unix time."
    );
    describe_gauge!("quorate_build_info", "1, labelled with what runs here.");
    let start = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    gauge!("process_start_time_seconds").set(start);
}

/// Takes as many file descriptors as the system gives without asking: the usual soft limit of 1,024
/// is less than the connections, segments and files of a busy node.
pub(super) fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of file descriptors stays as it is");
    }
}

/// Takes the figures as of now. A figure the system does not give is left out.
pub(super) fn observe() {
    if let Some(bytes) = status_kib("VmRSS:").map(|kib| kib * 1024.0) {
        gauge!("process_resident_memory_bytes").set(bytes);
    }
    if let Some(threads) = status_kib("Threads:") {
        gauge!("process_threads").set(threads);
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        // The listing itself holds one open.
        let count = u32::try_from(descriptors.count().saturating_sub(1)).unwrap_or(u32::MAX);
        gauge!("process_open_fds").set(f64::from(count));
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        gauge!("process_max_fds").set(whole(most));
    }
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    counter!("process_cpu_seconds_total").absolute(u64::try_from(cpu.tv_sec).unwrap_or(0));
}

fn status_kib(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn whole(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
