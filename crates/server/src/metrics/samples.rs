//! Samples of metrics, gathered at one moment and written as OpenMetrics.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit as ClientUnit};
use sluice_broker::SyncTimes;

use super::family::{Family, Kind, Unit};

/// The labels of a sample, with their names.
pub(super) type Labels = Vec<(&'static str, String)>;

/// What a sample says.
#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Real(f64),
    Durations(Box<SyncTimes>),
}

/// Samples by their metric.
#[derive(Debug)]
pub(super) struct Samples(Vec<Vec<(Labels, Value)>>);

impl Default for Samples {
    fn default() -> Self {
        Self(vec![Vec::new(); Family::ALL.len()])
    }
}

impl Samples {
    fn put(&mut self, family: Family, labels: Labels, value: Value) {
        debug_assert!(labels.len() <= 2, "{family:?}");
        if let Some(samples) = self.0.get_mut(family as usize) {
            samples.push((labels, value));
        }
    }

    /// A number, of a metric without labels.
    pub(super) fn number(&mut self, family: Family, value: u64) {
        self.put(family, Vec::new(), Value::Number(value));
    }

    /// A number, with labels.
    pub(super) fn labelled(&mut self, family: Family, labels: &[(&'static str, &str)], value: u64) {
        self.put(family, owned(labels), Value::Number(value));
    }

    /// 1 if something is so, else 0.
    pub(super) fn switch(&mut self, family: Family, is_so: bool) {
        self.number(family, u64::from(is_so));
    }

    /// A duration, of a metric in seconds.
    pub(super) fn time(
        &mut self,
        family: Family,
        labels: &[(&'static str, &str)],
        value: Duration,
    ) {
        self.put(family, owned(labels), Value::Real(value.as_secs_f64()));
    }

    /// Durations by their length.
    pub(super) fn durations(&mut self, family: Family, times: SyncTimes) {
        self.put(family, Vec::new(), Value::Durations(Box::new(times)));
    }

    /// All of it as OpenMetrics.
    pub(super) fn write(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("a string takes whatever is written to it");
        out
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (family, samples) in Family::ALL.iter().zip(&self.0) {
            let unit = match family.unit() {
                Unit::None => None,
                Unit::Bytes => Some(ClientUnit::Bytes),
                Unit::Seconds => Some(ClientUnit::Seconds),
            };
            let kind = match family.kind() {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
                Kind::Info => MetricType::Info,
            };
            let mut metric =
                encoder.encode_descriptor(family.base(), family.help(), unit.as_ref(), kind)?;
            for (labels, value) in samples {
                if family.kind() == Kind::Info {
                    metric.encode_info(labels)?;
                } else if labels.is_empty() {
                    write_value(&mut metric, family.kind(), value)?;
                } else {
                    write_value(&mut metric.encode_family(labels)?, family.kind(), value)?;
                }
            }
        }
        Ok(())
    }
}

fn write_value(metric: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;
    match (value, kind) {
        (Value::Durations(times), _) => write_durations(metric, times),
        (Value::Number(value), Kind::Counter) => metric.encode_counter(value, NO_EXEMPLAR),
        (Value::Real(value), Kind::Counter) => metric.encode_counter(value, NO_EXEMPLAR),
        // Beyond 2^53 a number of bytes or messages is as good as the nearest one.
        (Value::Number(value), _) => metric.encode_gauge(&(*value as f64)),
        (Value::Real(value), _) => metric.encode_gauge(value),
    }
}

fn write_durations(metric: &mut MetricEncoder<'_>, times: &SyncTimes) -> fmt::Result {
    let bound = |bound: Option<Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
    let buckets: Vec<(f64, u64)> =
        times.counts().map(|(upto, count)| (bound(upto), count)).collect();
    metric.encode_histogram::<NoLabelSet>(times.sum().as_secs_f64(), times.count(), &buckets, None)
}
