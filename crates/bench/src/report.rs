//! Figures as a table for people and as JSON for machines.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::flow::Seen;

/// One run against one server.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What the client saw.
    pub seen: Seen,
    /// Processor seconds of the server for a million messages, where it is a process of its own.
    pub cpu: Option<f64>,
}

/// The two runs of one repetition.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Against the null server.
    pub null: Measured,
    /// Against the broker.
    pub broker: Measured,
}

/// One shape of a workload.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// The null server's name.
    pub null: String,
    /// Its repetitions.
    pub pairs: Vec<Pair>,
}

/// One of the two runs of a repetition.
type Side = fn(&Pair) -> &Measured;

/// A median and the range around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half of the values are not above it.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
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
        let end = |value: Option<&f64>| value.copied().unwrap_or(0.0);
        Self { median, min: end(values.first()), max: end(values.last()) }
    }

    /// For machines.
    pub fn to_json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl Row {
    fn spread(&self, of: impl Fn(&Pair) -> f64) -> Spread {
        Spread::of(self.pairs.iter().map(of))
    }

    /// Broker over null server, pair by pair.
    pub fn ratio(&self) -> Spread {
        self.spread(|pair| pair.broker.seen.rate() / pair.null.seen.rate())
    }

    fn side(&self, side: impl Fn(&Pair) -> &Measured) -> Value {
        let at = |quantile: f64| self.spread(|pair| latency(&side(pair).seen, quantile));
        json!({
            "rate": self.spread(|pair| side(pair).seen.rate()).to_json(),
            "p50_us": at(0.5).to_json(),
            "p99_us": at(0.99).to_json(),
            "messages": self.pairs.iter().map(|pair| side(pair).seen.answered).sum::<u64>(),
        })
    }

    /// For machines.
    pub fn to_json(&self) -> Value {
        let cpu = self.spread(|pair| pair.broker.cpu.unwrap_or_default());
        json!({
            "name": self.name,
            "null_server": self.null,
            "repetitions": self.pairs.len(),
            "null": self.side(|pair| &pair.null),
            "broker": self.side(|pair| &pair.broker),
            "ratio": self.ratio().to_json(),
            "broker_cpu_s_per_million": cpu.to_json(),
        })
    }
}

fn latency(seen: &Seen, quantile: f64) -> f64 {
    Duration::from_nanos(seen.latencies.value_at_quantile(quantile)).as_secs_f64() * 1e6
}

/// The rows as a table: medians, with ranges where they matter.
pub fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<20}{:<11}{:>24}{:>24}{:>20}{:>16}{:>16}{:>10}\n",
        "confirmed publish",
        "limit",
        "limit msgs/s",
        "sluice msgs/s",
        "ratio",
        "limit p50/p99",
        "sluice p50/p99",
        "CPU s/M",
    );
    for row in rows {
        let rate = |side: Side| row.spread(|pair| side(pair).seen.rate() / 1e3);
        let times = |side: Side| {
            let at = |quantile| row.spread(|pair| latency(&side(pair).seen, quantile)).median;
            format!("{:.0}/{:.0} us", at(0.5), at(0.99))
        };
        let cpu = row.spread(|pair| pair.broker.cpu.unwrap_or_default()).median;
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "{:<20}{:<11}{:>24}{:>24}{:>20}{:>16}{:>16}{cpu:>10.2}",
            row.name,
            row.null,
            thousands(rate(|pair| &pair.null)),
            thousands(rate(|pair| &pair.broker)),
            ratio(row.ratio()),
            times(|pair| &pair.null),
            times(|pair| &pair.broker),
        );
    }
    out
}

fn thousands(Spread { median, min, max }: Spread) -> String {
    format!("{median:.1} k ({min:.1}..{max:.1})")
}

fn ratio(Spread { median, min, max }: Spread) -> String {
    format!("{median:.2} ({min:.2}..{max:.2})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_in_the_middle_of_its_range() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(spread(&[]), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }
}
