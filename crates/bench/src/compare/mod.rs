//! Workloads against targets: each pair gives figures, and the figures give a table.

mod case;
mod figures;
mod goals;
mod plan;
mod run;
mod spread;
pub mod table;

pub use case::{Case, Files, KeyWork, Scale, WORKLOADS, cases};
pub use figures::{Figure, Figures, LATENCIES};
pub use goals::{Against, Bound, GOALS, Goal, Judged, judge};
pub use plan::Plan;
pub use run::{Cell, Fault, Progress, Report, run};
pub use spread::Spread;
