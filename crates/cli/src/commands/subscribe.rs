//! `sluice subscribe`: prints messages as they arrive, and acknowledges what was printed.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use sluice_bench::v1::{Client, ClientError, Delivered};

use crate::args::SubscribeArgs;
use crate::commands::{api_key, connect};
use crate::failure::Failure;

/// Messages asked for at once.
const BATCH: usize = 512;
/// Pause after a batch that was empty: version 1 can't be told to wait. It doubles up to the
/// longest.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// Pause before connecting again. It doubles up to the longest.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &SubscribeArgs) -> Result<(), Failure> {
    let interrupted = watch_for_interrupt()?;
    let key = api_key(&args.server)?;
    let mut printer = Printer { args, out: BufWriter::new(io::stdout().lock()), printed: 0 };
    let mut client = Some(connect(&args.server, key.as_deref())?);
    let mut pause = RECONNECT_MIN;
    while !interrupted.load(Ordering::Relaxed) {
        let error = match client.take() {
            Some(client) => match consume(client, &mut printer, &interrupted, &mut pause) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            },
            None => match connect(&args.server, key.as_deref()) {
                Ok(connected) => {
                    client = Some(connected);
                    continue;
                }
                Err(error) => error.into(),
            },
        };
        let lost = matches!(error, Failure::Client(ClientError::Io(_) | ClientError::Closed));
        if !lost || args.no_reconnect {
            return Err(error);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(RECONNECT_MAX);
    }
    Ok(())
}

/// Takes batches from one connection until enough was printed or the user wants no more.
fn consume(
    mut client: Client,
    printer: &mut Printer<'_>,
    interrupted: &AtomicBool,
    reconnect: &mut Duration,
) -> Result<(), Failure> {
    let args = printer.args;
    let subscription = client.subscribe(&args.topic, args.qos)?;
    let mut pause = PAUSE_MIN;
    while !interrupted.load(Ordering::Relaxed) && !printer.is_done() {
        let batch = client.take(subscription, printer.wanted())?;
        *reconnect = RECONNECT_MIN;
        if batch.is_empty() {
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            continue;
        }
        pause = PAUSE_MIN;
        for message in &batch {
            printer.print(message).map_err(Failure::other)?;
        }
        // Acknowledged only once it is out: a crash in between repeats it.
        printer.out.flush().map_err(Failure::other)?;
        if args.qos == 1 {
            for message in &batch {
                client.ack(subscription, message.tag)?;
            }
        }
    }
    client.fence()?;
    client.close();
    Ok(())
}

struct Printer<'a> {
    args: &'a SubscribeArgs,
    out: BufWriter<io::StdoutLock<'a>>,
    printed: u64,
}

impl Printer<'_> {
    /// How many messages to ask for next.
    fn wanted(&self) -> usize {
        let left = self.args.count.map_or(u64::MAX, |count| count.saturating_sub(self.printed));
        usize::try_from(left).unwrap_or(usize::MAX).min(BATCH)
    }

    fn is_done(&self) -> bool {
        self.wanted() == 0
    }

    fn print(&mut self, message: &Delivered) -> io::Result<()> {
        self.printed += 1;
        if !self.args.json {
            self.out.write_all(&message.message)?;
            return self.out.write_all(b"\n");
        }
        let payload = match std::str::from_utf8(&message.message) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": BASE64_STANDARD.encode(&message.message) }),
        };
        let line = json!({ "topic": message.topic, "payload": payload, "tag": message.tag });
        writeln!(self.out, "{line}")
    }
}

/// A flag that the first SIGINT or SIGTERM sets.
fn watch_for_interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::other)?;
    let (interrupt, terminate) = runtime
        .block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            Ok::<_, io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
        })
        .map_err(Failure::other)?;
    let set = Arc::clone(&flag);
    thread::spawn(move || {
        let (mut interrupt, mut terminate) = (interrupt, terminate);
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
            set.store(true, Ordering::Relaxed);
            // Whoever asks twice does not want to wait.
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
            std::process::exit(1);
        });
    });
    Ok(flag)
}
