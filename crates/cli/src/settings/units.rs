//! Sizes and durations as people write them.
//!
//! K, M, G and T are powers of 1024 in every spelling (`64k`, `64KB`, `64KiB`), as in the files of
//! old that have them. A plain number is bytes, or milliseconds.

use std::time::Duration;

const SIZES: [(&str, u64); 4] = [("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40)];
const TIMES: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a size in bytes.
pub(crate) fn read_bytes(text: &str) -> Option<u64> {
    let (number, suffix) = split(text)?;
    let suffix = suffix.to_ascii_lowercase();
    let unit = suffix.strip_suffix("ib").or(suffix.strip_suffix('b')).unwrap_or(&suffix);
    match unit {
        "" if suffix == "ib" => None,
        "" => Some(number),
        _ => number.checked_mul(SIZES.iter().find(|(name, _)| *name == unit)?.1),
    }
}

/// Shows a size so that it reads back as the same.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let whole = |unit: u64| bytes > 0 && bytes.is_multiple_of(unit);
    match SIZES.iter().rev().find(|(_, unit)| whole(*unit)) {
        Some((name, unit)) => format!("{}{}iB", bytes / unit, name.to_ascii_uppercase()),
        None => bytes.to_string(),
    }
}

/// Reads a duration.
pub(crate) fn read_time(text: &str) -> Option<Duration> {
    let (number, suffix) = split(text)?;
    let millis = match suffix {
        "" => 1,
        _ => TIMES.iter().find(|(name, _)| *name == suffix)?.1,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// Shows a duration so that it reads back as the same.
pub(crate) fn show_time(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let whole = |unit: u64| millis > 0 && millis.is_multiple_of(unit);
    match TIMES.iter().rev().find(|(_, unit)| whole(*unit)) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => millis.to_string(),
    }
}

/// The number in front and what follows it.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    Some((number.parse().ok()?, suffix.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn sizes_are_read_in_every_spelling() {
        let cases = [
            ("0",     Some(0)),         ("65536",   Some(65_536)),  ("12b",   Some(12)),
            ("64k",   Some(65_536)),    ("64KB",    Some(65_536)),  ("64KiB", Some(65_536)),
            ("256M",  Some(256 << 20)), ("2G",      Some(2 << 30)), ("1 TiB", Some(1 << 40)),
            ("",      None),            ("k",       None),          ("1.5g",  None),
            ("12ib",  None),            ("12q",     None),          ("-1",    None),
            ("99999999999t", None),     ("1kk",     None),
        ];
        for (text, expected) in cases {
            assert_eq!(read_bytes(text), expected, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn durations_are_read_in_every_spelling() {
        let cases = [
            ("0",    Some(0)),      ("250",  Some(250)),       ("250ms", Some(250)),
            ("5s",   Some(5_000)),  ("5 m",  Some(300_000)),   ("1h",    Some(3_600_000)),
            ("2d",   Some(172_800_000)),
            ("",     None),         ("s",    None),            ("5 min", None),   ("5M", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read_time(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for bytes in [0, 1, 1_023, 1_024, 65_536, 3 << 29, 64 << 20, 1 << 40, u64::MAX] {
            assert_eq!(read_bytes(&show_bytes(bytes)), Some(bytes));
        }
        for millis in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000] {
            let time = Duration::from_millis(millis);
            assert_eq!(read_time(&show_time(time)), Some(time));
        }
    }
}
