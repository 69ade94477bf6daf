//! What repetitions say together.

use serde_json::{Value, json};

/// A median and what is around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half of the values are not above it.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The interval that holds the median of all possible repetitions with 95 %: from order
    /// statistics, so nothing is assumed of how values are spread. All of the range where there
    /// are fewer than six.
    pub interval: (f64, f64),
}

impl Spread {
    /// Of at least one value; zero of none.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => 0.0,
            count if count % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        let at = |place: usize| values.get(place).copied().unwrap_or(0.0);
        let last = values.len().saturating_sub(1);
        let cut = outside(values.len());
        let interval = (at(cut), at(last - cut));
        Self { median, min: at(0), max: at(last), interval }
    }

    /// For machines.
    pub fn to_json(self) -> Value {
        let Self { median, min, max, interval } = self;
        json!({ "median": median, "min": min, "max": max, "interval": [interval.0, interval.1] })
    }
}

/// How many values may be left out on each side so that the rest holds the median with 95 %.
fn outside(count: usize) -> usize {
    // A value lies below the median as a coin falls: the chance that at most `cut - 1` of them do
    // must be 2.5 % or less.
    let mut chance = 0.5_f64.powi(count as i32);
    let mut below = chance;
    let mut cut = 0;
    while below <= 0.025 && cut < count / 2 {
        cut += 1;
        chance *= (count - cut + 1) as f64 / cut as f64;
        below += chance;
    }
    cut.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_in_the_middle_of_its_range() {
        let spread = |values: &[f64]| {
            let Spread { median, min, max, .. } = Spread::of(values.iter().copied());
            (median, min, max)
        };
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), (2.5, 1.0, 4.0));
        assert_eq!(spread(&[]), (0.0, 0.0, 0.0));
    }

    #[test]
    fn the_interval_is_that_of_the_sign_test() {
        let interval = |count: u32| Spread::of((1..=count).map(f64::from)).interval;
        // Tables of the sign test: of 10 the 2nd and the 9th, of 20 the 6th and the 15th.
        assert_eq!(interval(3), (1.0, 3.0));
        assert_eq!(interval(6), (1.0, 6.0));
        assert_eq!(interval(10), (2.0, 9.0));
        assert_eq!(interval(20), (6.0, 15.0));
    }
}
