//! `Retry-After`: seconds, or a date of HTTP.

use std::time::{Duration, SystemTime};

/// Dates and seconds beyond this say no more than that it takes long.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// How long to wait from `now` on; none if it can't be read. A date that has passed is no time.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // What has too many digits is long.
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn seconds_and_all_forms_of_dates_are_read() {
        // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        let cases = [
            ("120",                             Some(120)),
            (" 0 ",                             Some(0)),
            ("99999999999999999999999",         Some(366 * 86_400)),
            ("Sun, 06 Nov 1994 08:49:37 GMT",   Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT",  Some(30)),
            ("Sun Nov  6 08:49:37 1994",        Some(30)),
            ("Sat, 06 Nov 1993 08:49:37 GMT",   Some(0)),
            ("Sat, 06 Nov 2094 08:49:37 GMT",   Some(366 * 86_400)),
            ("-1",                              None),
            ("1.5",                             None),
            ("soon",                            None),
            ("",                                None),
        ];
        for (value, seconds) in cases {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }
}
