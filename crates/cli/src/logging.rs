//! The log: lines on standard error, of a level that can change while the broker runs.

use std::backtrace::Backtrace;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::failure::Failure;
use crate::settings::{LogFormat, Settings};

/// Whether this build can serve tokio-console.
pub(crate) const HAS_CONSOLE: bool = cfg!(feature = "console");

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
    // Filtered apart: the console sees what the log leaves out.
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    #[cfg(feature = "console")]
    let registry = registry.with(settings.enable_tokio_console.then(console_subscriber::spawn));
    registry.init();
    std::panic::set_hook(Box::new(tell_panic));
    Ok(LogLevel(handle))
}

/// A panic is a fault of ours: one line with the way that led there, in the form of all lines.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.payload_as_str().unwrap_or("no text");
    let at = panic.location().map(ToString::to_string);
    let backtrace = sluice_server::one_line(&Backtrace::force_capture().to_string());
    tracing::error!(fault = "server", said, at, backtrace, "panic");
}
