//! Limits as others look at them: those of requests, which are asked at the doors, and figures.

use std::time::Duration;

use sluice_flow::LimitFigures;
use sluice_model::{Limit, LimitWaits, Timestamp};

use super::micros;
use crate::engine::Engine;

impl Engine {
    /// Counts the changes of limits.
    pub fn limits_version(&self) -> u64 {
        self.limits.version
    }

    /// The limits that count requests, by name.
    pub fn request_limits(&self) -> impl Iterator<Item = &Limit> {
        let all = self.limits.set.iter().map(|(limit, _)| limit);
        all.filter(|limit| limit.scope().is_for_requests())
    }

    /// What waits for the limits of the first `max` names, by name, and for all others and pauses
    /// together.
    pub fn limit_waits(&self, now: Timestamp, max: usize) -> (Vec<LimitWaits>, LimitWaits) {
        let (now, limits) = (micros(now), &self.limits);
        let mut by_name: Vec<LimitWaits> = Vec::new();
        let mut others = waits("", limits.keyed.all_figures(now));
        for (limit, no) in limits.set.iter() {
            let Some(no) = no else { continue };
            if by_name.last().is_none_or(|last| *last.name != *limit.name()) {
                if by_name.len() >= max {
                    break;
                }
                by_name.push(waits(limit.name(), LimitFigures::default()));
            }
            let one = waits("", limits.keyed.figures(no, now));
            if let Some(of_name) = by_name.last_mut() {
                of_name.lanes += one.lanes;
                of_name.waited += one.waited;
            }
            others.lanes = others.lanes.saturating_sub(one.lanes);
            others.waited = others.waited.saturating_sub(one.waited);
        }
        (by_name, others)
    }
}

fn waits(name: &str, figures: LimitFigures) -> LimitWaits {
    let waited = Duration::from_micros(figures.waited);
    LimitWaits { name: name.into(), lanes: figures.lanes.into(), waited }
}
