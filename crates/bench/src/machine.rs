//! What a figure was measured on.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

/// Magic numbers of file systems, from `statfs(2)`.
const FILE_SYSTEMS: [(u64, &str); 6] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0x794c_7630, "overlayfs"),
    (0x0102_1994, TMPFS),
];
const TMPFS: &str = "tmpfs";

/// The machine and the file system that holds the data.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Type of the file system.
    pub file_system: String,
}

impl Machine {
    /// Looks around; `data` is a directory that exists.
    ///
    /// # Errors
    /// The system does not say.
    pub fn read(data: &Path) -> io::Result<Self> {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown processor", |rest| rest.trim_matches([' ', '\t', ':']));
        let magic = rustix::fs::statfs(data)?.f_type as u64 & 0xffff_ffff;
        let known = FILE_SYSTEMS.iter().find(|(number, _)| *number == magic);
        Ok(Self {
            processor: model.to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: known.map_or(format!("{magic:#x}"), |(_, name)| (*name).to_owned()),
        })
    }

    /// Whether a sync means nothing here.
    pub fn is_in_memory(&self) -> bool {
        self.file_system == TMPFS
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let Self { processor, processors, kernel, file_system } = self;
        format!("{processors} x {processor}, Linux {kernel}, {file_system}")
    }

    /// The same for machines.
    pub fn to_json(&self) -> Value {
        let Self { processor, processors, kernel, file_system } = self;
        json!({
            "processor": processor,
            "processors": processors,
            "kernel": kernel,
            "file_system": file_system,
        })
    }
}
