//! What runs came to, for people: a table, and a plot as SVG.

mod plot;
mod table;

pub use plot::{PlotError, svg};
pub use table::text;
