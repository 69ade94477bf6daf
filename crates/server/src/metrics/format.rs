//! Which format is accepted, and how it is written.

use super::family::{Family, Kind};
use super::samples::Samples;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4.
    Plain,
    /// Names and figures.
    Json,
}

impl Format {
    /// What is preferred of what `accept` takes, the values of the header with that name; of equal
    /// ones the first in this order. `usual` is for who takes anything.
    pub(crate) fn accepted<'a>(accept: impl Iterator<Item = &'a str>, usual: Self) -> Self {
        let mut best = (0.0, usual);
        let mut wanted: Vec<(Self, f64)> = Vec::new();
        for range in accept.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight = weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
            match kind.as_str() {
                "application/openmetrics-text" => wanted.push((Self::OpenMetrics, weight)),
                "text/plain" | "text/*" => wanted.push((Self::Plain, weight)),
                "application/json" => wanted.push((Self::Json, weight)),
                "*/*" | "application/*" => wanted.push((usual, weight)),
                _ => {}
            }
        }
        for format in [Self::OpenMetrics, Self::Plain, Self::Json] {
            let weights = wanted.iter().filter(|(known, _)| *known == format);
            let weight = weights.map(|(_, weight)| *weight).fold(0.0, f64::max);
            if weight > best.0 {
                best = (weight, format);
            }
        }
        best.1
    }

    /// What it is called.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::Json => "application/json",
        }
    }

    /// The samples in this format; one of the two for Prometheus.
    pub(super) fn write(self, samples: Samples) -> String {
        let text = samples.write();
        match self {
            Self::Plain => plain(&text),
            Self::OpenMetrics | Self::Json => text,
        }
    }
}

/// OpenMetrics in the older format: there a metric is called what its samples are, and units and
/// the end are not said.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let about = line.strip_prefix("# ").and_then(|rest| {
            let (word, rest) = rest.split_once(' ')?;
            let (name, rest) = rest.split_once(' ')?;
            let renames = |family: &Family| matches!(family.kind(), Kind::Counter | Kind::Info);
            let family = Family::ALL.iter().find(|known| renames(known) && known.name() == name)?;
            let rest = if rest == "info" { "gauge" } else { rest };
            Some(format!("# {word} {} {rest}\n", family.sample_name()))
        });
        match about {
            Some(line) => out.push_str(&line),
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Format::{Json, OpenMetrics, Plain};
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_liked_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        let cases = [
            ("", Json, Json),
            ("*/*", Json, Json),
            ("*/*", Plain, Plain),
            ("text/plain", Json, Plain),
            ("text/plain", Plain, Plain),
            ("application/openmetrics-text", Json, OpenMetrics),
            (prometheus, Json, OpenMetrics),
            ("application/openmetrics-text;q=0, text/plain", Json, Plain),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Json, Json),
            ("Text/Plain; q=0.3, application/json; q=0.9", Plain, Json),
            ("text/plain;q=x", Json, Json),
            ("image/png", Plain, Plain),
        ];
        for (accept, usual, expected) in cases {
            assert_eq!(Format::accepted([accept].into_iter(), usual), expected, "{accept}");
        }
        assert_eq!(Format::accepted(["image/png", "text/plain"].into_iter(), Json), Plain);
    }

    #[test]
    fn the_older_format_calls_counters_by_their_samples() {
        let text = "# HELP sluice_messages_acked Some help\n# TYPE sluice_messages_acked counter\n\
            sluice_messages_acked_total 3\n# TYPE sluice_build info\n\
            # UNIT sluice_uptime_seconds seconds\n# EOF\n";
        let expected = "# HELP sluice_messages_acked_total Some help\n\
            # TYPE sluice_messages_acked_total counter\nsluice_messages_acked_total 3\n\
            # TYPE sluice_build_info gauge\n";
        assert_eq!(plain(text), expected);
    }
}
