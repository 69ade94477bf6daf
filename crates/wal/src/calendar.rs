//! The calendar: what a time is called, for names of files and for people.

/// A time in UTC, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    /// The year.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59: leap seconds are not told apart.
    pub second: u64,
}

impl Utc {
    /// The time so many seconds after the beginning of 1970. The date is by Howard Hinnant's
    /// `civil_from_days`.
    pub const fn at(seconds: u64) -> Self {
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = 400 * era + year_of_era + (month <= 2) as u64;
        Self {
            year,
            month,
            day,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_days_and_the_ends_of_years_are_where_they_belong() {
        let at = |seconds| {
            let Utc { year, month, day, hour, minute, second } = Utc::at(seconds);
            [year, month, day, hour, minute, second]
        };
        assert_eq!(at(0), [1970, 1, 1, 0, 0, 0]);
        assert_eq!(at(951_827_696), [2000, 2, 29, 12, 34, 56]);
        assert_eq!(at(1_767_225_599), [2025, 12, 31, 23, 59, 59]);
        assert_eq!(at(4_107_542_400), [2100, 3, 1, 0, 0, 0]);
    }
}
