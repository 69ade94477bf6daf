//! What a process uses, from `/proc`.

use std::io;
use std::time::Duration;

/// Processor time of all its threads, on its own behalf and in the kernel.
///
/// # Errors
/// The system does not say.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc(5): fields 14 and 15, in ticks; the second, in parentheses, may hold spaces.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// The same to the nanosecond, of the threads that there are.
///
/// # Errors
/// The system does not say.
pub fn exact_cpu_time(pid: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that has ended in the meantime counts for nothing.
        let text = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let used = text.split_whitespace().next().and_then(|used| used.parse::<u64>().ok());
        nanoseconds += used.unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Processor time of this thread.
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bytes of its memory that are resident.
///
/// # Errors
/// The system does not say.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// Bytes it has had the system write to disk so far.
///
/// # Errors
/// The system does not say.
pub fn written_bytes(pid: u32) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let field = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    field.and_then(|value| value.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// How many files this process may have open.
pub fn descriptors_max() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(cpu_time(std::process::id()).is_ok());
        assert!(descriptors_max() > 0);
    }
}
