//! The process as Linux shows it in `/proc` (proc(5)), under the names that Prometheus' own client libraries use
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). What cannot be read is left out.

use std::fs::{read_dir, read_to_string};

use super::source::Reading;

/// Unit of times in `/proc`: `USER_HZ`, which is 100 on every architecture that Linux has today (time(7)).
const TICKS: f64 = 100.0;

/// What can be read now.
pub(super) fn readings() -> Vec<Reading> {
    let (mut found, status) = (Vec::new(), read_to_string("/proc/self/status").unwrap_or_default());
    if let Some(stat) = read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        let help = "CPU time of the process.";
        found.push(Reading::counter("process_cpu_seconds_total", help, stat.cpu));
        if let Some(boot) = number(&read_to_string("/proc/stat").unwrap_or_default(), "btime") {
            let help = "When the process started, in Unix time.";
            found.push(Reading::gauge("process_start_time_seconds", help, boot + stat.started));
        }
    }
    if let Some(kilobytes) = number(&status, "VmRSS:") {
        let help = "Resident memory of the process.";
        found.push(Reading::gauge("process_resident_memory_bytes", help, kilobytes * 1024.0));
    }
    if let Some(threads) = number(&status, "Threads:") {
        found.push(Reading::gauge("process_threads", "Threads of the process.", threads));
    }
    if let Ok(files) = read_dir("/proc/self/fd") {
        // The look itself holds one.
        let open = files.count().saturating_sub(1);
        found.push(Reading::gauge("process_open_fds", "Open file descriptors.", open as f64));
    }
    let limits = read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(limit) = number(&limits, "Max open files") {
        found.push(Reading::gauge("process_max_fds", "Limit on open file descriptors.", limit));
    }
    found
}

/// The first number behind a word at the beginning of a line.
fn number(text: &str, word: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Times of the process in seconds.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu: f64,
    /// Since the system started.
    started: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets, which may hold anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self { cpu: (ticks(14)? + ticks(15)?) / TICKS, started: ticks(22)? / TICKS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_s_name_may_hold_anything() {
        let numbers: Vec<String> = (4..40).map(|number| number.to_string()).collect();
        let stat = Stat::parse(&format!("7 (a) b ) S {}", numbers.join(" ")));
        assert_eq!(stat, Some(Stat { cpu: 0.29, started: 0.22 }));
        assert_eq!(Stat::parse("7 (a) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let readings = readings();
        let value = |name| readings.iter().find(|reading| reading.name == name).map(|reading| reading.value);
        assert!(value("process_resident_memory_bytes").unwrap() > 100_000.0);
        assert!(value("process_start_time_seconds").unwrap() > 1.7e9);
        assert!(value("process_open_fds").unwrap() >= 3.0 && value("process_threads").unwrap() >= 1.0);
    }
}
