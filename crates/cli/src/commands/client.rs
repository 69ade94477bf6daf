//! What commands that talk with a broker share.

use std::future::Future;
use std::io;
use std::time::Duration;

use sluice_client::{Client, Error, Options};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::ServerArgs;
use crate::failure::Failure;

/// How long a broker that went away is waited for.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Runs a command until it is done.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::other)?;
    let done = runtime.block_on(command);
    // A thread that waits for a line of standard input is not waited for.
    runtime.shutdown_background();
    done
}

/// What a command wants of its connection by default: a broker that is started again is waited for.
/// The key comes from a file or the environment, never from the arguments.
pub(crate) fn options(args: &ServerArgs) -> Result<Options, Failure> {
    let options = Options {
        name: format!("sluice {}", env!("CARGO_PKG_VERSION")),
        give_up_after: Some(GIVE_UP_AFTER),
        tls: args.tls.tls(),
        ..Options::default()
    };
    match &args.key_file {
        None => Ok(options.with_key_of_environment()),
        Some(path) => options
            .with_key_file(path)
            .map_err(|error| Failure::Other(format!("can't read {}: {error}", path.display()))),
    }
}

/// Connects as the arguments say.
pub(crate) async fn connect(args: &ServerArgs) -> Result<Client, Failure> {
    connect_with(args, options(args)?).await
}

/// Connects as the arguments and options say.
pub(crate) async fn connect_with(args: &ServerArgs, options: Options) -> Result<Client, Failure> {
    Ok(Client::connect(&args.server, options).await?)
}

/// What helps against an error.
pub(crate) fn hint(error: &Error) -> &'static str {
    match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::ConnectionRefused => {
            "\nis the broker running? start it with: sluice serve"
        }
        Error::Io { source, .. } if source.to_string().contains("UnknownIssuer") => {
            "\n--tls-ca names the certificate that vouches for the broker's"
        }
        Error::Refused(refused) => refused_hint(refused),
        Error::Version(_) => "\nthe broker is older than this program",
        _ => "",
    }
}

/// What helps against a refusal.
pub(crate) fn refused_hint(refused: &sluice_client::Refused) -> &'static str {
    match refused.status {
        401 => "\ngive the key with --key-file or SLUICE_API_KEY",
        403 => "\nsluice key list shows what the key may do",
        507 => "\nthe broker's disk is full: consumers can go on and make room",
        _ => "",
    }
}

/// SIGINT and SIGTERM.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// From now on.
    pub(crate) fn new() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {} _ = self.terminate.recv() => {} }
    }
}
