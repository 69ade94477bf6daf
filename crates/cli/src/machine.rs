//! How much memory there is: the machine's, or less where a control group says so.

use std::fs;
use std::path::{Path, PathBuf};

/// Where there is neither.
const FALLBACK: u64 = 1 << 30;

/// Half of the memory that this process can have.
pub(crate) fn half_of_memory() -> u64 {
    let host = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok();
    let group = group.and_then(|text| group_limit(&text, Path::new("/sys/fs/cgroup")));
    host.into_iter().chain(group).min().unwrap_or(FALLBACK) / 2
}

/// Bytes of the machine, from the text of `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The lowest limit of this process's control group and those above it, from the text of
/// `/proc/self/cgroup` and the files under `root`.
fn group_limit(text: &str, root: &Path) -> Option<u64> {
    let limit = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        // Version 2 has one line, without controllers; of version 1 the one for memory counts.
        let (base, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let own = base.join(group.trim_start_matches('/'));
        let folders = own.ancestors().take_while(|folder| folder.starts_with(&base));
        folders.filter_map(|folder| number(folder.join(file))).min()
    };
    text.lines().filter_map(limit).min()
}

/// The number in a file; none for `max`.
fn number(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_memory() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total("nothing"), None);
        assert!(half_of_memory() > 1 << 20);
    }

    #[test]
    fn the_lowest_limit_of_a_group_and_those_above_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "max\n");
        write("memory/c/memory.limit_in_bytes", "500\n");
        assert_eq!(group_limit("0::/a/b\n", dir.path()), Some(1000));
        assert_eq!(group_limit("0::/\n", dir.path()), None);
        assert_eq!(group_limit("0::/elsewhere\n", dir.path()), None);
        let first = "9:cpu,cpuacct:/c\n8:memory:/c\n0::/a/b\n";
        assert_eq!(group_limit(first, dir.path()), Some(500));
        assert_eq!(group_limit("", dir.path()), None);
    }
}
