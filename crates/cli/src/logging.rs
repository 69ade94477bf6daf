//! The log: lines on standard error, of a level that can change while the broker runs.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::failure::Failure;
use crate::settings::{LogFormat, Settings};

/// The log's level.
pub(crate) struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Logs from now on what `filter` lets through.
    pub(crate) fn set(&self, filter: &str) -> Result<(), Failure> {
        let filter = EnvFilter::try_new(filter).map_err(Failure::settings)?;
        self.0.reload(filter).map_err(Failure::other)
    }
}

/// Starts the process's log.
pub(crate) fn start(settings: &Settings) -> Result<LogLevel, Failure> {
    let filter = EnvFilter::try_new(&settings.log_level).map_err(Failure::settings)?;
    let (filter, handle) = reload::Layer::new(filter);
    let colours = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines = match settings.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(LogLevel(handle))
}
