//! What a broker's directory and process look like from outside, and what it says at its end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{Figures, Options, PARTS, Progress, SEGMENT, SteadyError};

/// What a record takes in the log beside its payload: headers, topic, target.
const RECORD: u64 = 60;

/// Gathers the maxima.
pub(super) struct Watch {
    data: PathBuf,
    status: PathBuf,
    message_bytes: u64,
    began: Instant,
    duration: Duration,
    pub(super) figures: Figures,
}

impl Watch {
    pub(super) fn new(data: &Path, pid: u32, options: &Options) -> Self {
        let status = PathBuf::from(format!("/proc/{pid}/status"));
        let Options { duration, message_bytes, .. } = options;
        let (duration, message_bytes) = (*duration, *message_bytes as u64);
        let (data, began) = (data.to_owned(), Instant::now());
        Self { data, status, message_bytes, began, duration, figures: Figures::default() }
    }

    /// Looks once.
    pub(super) fn look(&mut self, progress: &Progress) -> io::Result<()> {
        // Consumed first: what is published meanwhile makes the bound tighter, not looser.
        let abandoned = progress.abandoned.load(Relaxed);
        let sent = progress.sent.load(Relaxed) - abandoned;
        let waiting = sent.saturating_sub(progress.consumed.load(Relaxed));
        let live = (abandoned + waiting) * (self.message_bytes + RECORD);
        let files = segment_bytes(&self.data)?;
        let figures = &mut self.figures;
        figures.live_bytes = live;
        figures.file_bytes_max = figures.file_bytes_max.max(files);
        let above = (files as f64 - 2.0 * live as f64) / SEGMENT as f64;
        figures.segments_above = figures.segments_above.max(above);
        let resident = resident_bytes(&fs::read_to_string(&self.status)?);
        let passed = self.began.elapsed().as_secs_f64() / self.duration.as_secs_f64();
        let part = (passed * PARTS as f64) as usize;
        let most = &mut figures.resident_max[part.min(PARTS - 1)];
        *most = resident.max(*most);
        Ok(())
    }
}

/// Bytes of all segment files, those on their way included.
fn segment_bytes(data: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains(".seg") {
            // A file that was removed since the listing counts nothing.
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok(bytes)
}

fn resident_bytes(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() << 10
}

/// Adds what the broker said of its log when it closed it.
pub(super) fn last_words(log: &str, figures: Figures) -> Result<Figures, SteadyError> {
    let line = log.lines().rev().find(|line| line.contains("log closed"));
    let line = line.ok_or(SteadyError::Other("the broker did not say how its log fared"))?;
    let field = |name: &str| -> Result<u64, SteadyError> {
        let mut words = line.split_whitespace();
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let value = value.and_then(|value| u64::from_str(value).ok());
        value.ok_or(SteadyError::Other("a figure of the broker's is missing"))
    };
    let micros = |name: &str| field(name).map(Duration::from_micros);
    Ok(Figures {
        log_bytes: field("log_bytes")?,
        image_bytes: field("image_bytes")?,
        moved_bytes: field("moved_bytes")?,
        replay_bytes_max: field("replay_bytes_max")?,
        replay_waits: field("replay_waits")?,
        clearing_waits: field("clearing_waits")?,
        longest_turn: micros("longest_turn_us")?,
        long_turns: field("long_turns")?,
        longest_image: [micros("longest_image_us")?, micros("longest_image_cpu_us")?],
        longest_move: [micros("longest_move_us")?, micros("longest_move_cpu_us")?],
        ..figures
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_read_by_name() {
        let log = "t INFO sluice: log closed log_bytes=9 image_bytes=1 moved_bytes=2 \
            file_bytes=3 replay_bytes_max=4 replay_waits=5 clearing_waits=6 longest_turn_us=6000 long_turns=7 \
            longest_image_us=8 longest_image_cpu_us=5 longest_move_us=9 longest_move_cpu_us=2\n";
        let figures = last_words(log, Figures::default()).ok().filter(|figures| {
            (figures.log_bytes, figures.long_turns) == (9, 7)
                && figures.longest_turn == Duration::from_millis(6)
                && figures.longest_image == [8, 5].map(Duration::from_micros)
                && figures.longest_move == [9, 2].map(Duration::from_micros)
        });
        assert!(figures.is_some());
        assert!(last_words("nothing", Figures::default()).is_err());
    }

    #[test]
    fn the_resident_set_is_read_in_kib() {
        assert_eq!(resident_bytes("VmHWM:\t 9 kB\nVmRSS:\t    12 kB\n"), 12 << 10);
    }
}
