//! Names of backups: when they were made, and up to which record they go.

use crate::calendar::Utc;

/// The name of a backup: `20261121T101500Z-4711`. Sorts by time.
pub(crate) fn backup_name(time_ms: u64, last: u64) -> String {
    format!("{}-{last}", utc(time_ms / 1000))
}

/// What a name sorts by, if it is one that [`backup_name`] gives.
pub(crate) fn parse(name: &str) -> Option<(&str, u64)> {
    let (time, last) = name.split_once('-')?;
    let shape = |(at, byte): (usize, u8)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    let is_time = time.len() == 16 && time.bytes().enumerate().all(shape);
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if is_time && is_number { Some((time, last.parse().ok()?)) } else { None }
}

/// Seconds since 1970 in the basic form of ISO 8601.
fn utc(seconds: u64) -> String {
    let Utc { year, month, day, hour, minute, second } = Utc::at(seconds);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_when_and_how_far() {
        assert_eq!(backup_name(951_827_696_999, 7), "20000229T123456Z-7");
        assert_eq!(backup_name(1_767_225_599_000, 0), "20251231T235959Z-0");
    }

    #[test]
    fn only_our_own_names_are_taken_for_backups() {
        assert_eq!(parse("20000229T123456Z-7"), Some(("20000229T123456Z", 7)));
        let others =
            ["", "20000229T123456Z", "20000229T123456Z-", "20000229T123456Z-x", "2000-7", "a/b-1"];
        for other in others {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
