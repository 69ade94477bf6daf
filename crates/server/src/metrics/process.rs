//! What the system says of this process.

use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

/// Fields of `/proc/self/stat` behind the name, which may hold anything.
const UTIME: usize = 11;
const STIME: usize = 12;
const STARTED: usize = 19;
const VIRTUAL: usize = 20;
const RESIDENT: usize = 21;

/// What the system says of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Time that it has had a processor.
    pub(super) cpu: Duration,
    /// When it started, since 1970; none where the system doesn't say when that was.
    pub(super) started: Option<Duration>,
    pub(super) virtual_bytes: u64,
    pub(super) resident_bytes: u64,
}

impl Process {
    /// What it says now; none where it doesn't say.
    pub(super) fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let booted = std::fs::read_to_string("/proc/stat").ok().as_deref().and_then(booted);
        Self::parse(&stat, booted, clock_ticks_per_second(), page_size() as u64)
    }

    fn parse(stat: &str, booted: Option<u64>, hertz: u64, page: u64) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let ticks = |ticks: u64| Duration::from_secs_f64(ticks as f64 / hertz.max(1) as f64);
        let started = ticks(number(STARTED)?);
        Some(Self {
            cpu: ticks(number(UTIME)? + number(STIME)?),
            started: booted.map(|booted| Duration::from_secs(booted) + started),
            virtual_bytes: number(VIRTUAL)?,
            resident_bytes: number(RESIDENT)? * page,
        })
    }
}

/// When the system was booted, since 1970.
fn booted(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_confuses_nobody() {
        let mut fields = vec!["S"; 22];
        for (at, text) in [(UTIME, "150"), (STIME, "50"), (STARTED, "1000"), (VIRTUAL, "9")] {
            fields[at] = text;
        }
        fields[RESIDENT] = "3";
        let stat = format!("7 (a) (b) {}\n", fields.join(" "));
        let booted = booted("cpu 1 2\nbtime 1700000000\nprocesses 5\n");
        let read = Process::parse(&stat, booted, 100, 4_096).unwrap();
        let expected = Process {
            cpu: Duration::from_secs(2),
            started: Some(Duration::from_secs(1_700_000_010)),
            virtual_bytes: 9,
            resident_bytes: 3 * 4_096,
        };
        assert_eq!(read, expected);
        assert_eq!(Process::parse("7 (a", None, 100, 1), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_a_beginning() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 1 << 20 && process.virtual_bytes > 1 << 20);
        assert!(process.started.unwrap() > Duration::from_secs(1_500_000_000));
    }
}
