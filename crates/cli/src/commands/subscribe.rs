//! `sluice subscribe`: prints messages as they arrive, and acknowledges what was printed.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use sluice_client::{Consume, Consumer, Delivery, Options, Subscribe};

use crate::args::SubscribeArgs;
use crate::commands::client::{self, Interrupts};
use crate::commands::message::Shape;
use crate::failure::Failure;

/// Messages that are on their way at once.
const PREFETCH: u64 = 4_096;
/// Messages that are printed before they are acknowledged.
const BATCH: usize = 512;

pub(crate) fn run(args: &SubscribeArgs) -> Result<(), Failure> {
    let shape = match &args.format {
        Some(format) => Shape::format(format)?,
        None if args.json => Shape::Json,
        None => Shape::Payload,
    };
    client::block_on(subscribe(args, &shape))
}

async fn subscribe(args: &SubscribeArgs, shape: &Shape) -> Result<(), Failure> {
    let mut interrupts = Interrupts::new().map_err(Failure::other)?;
    let give_up_after = args.no_reconnect.then_some(Duration::ZERO);
    let options = Options { give_up_after, ..client::options(&args.server)? };
    let client = client::connect_with(&args.server, options).await?;
    let wanted = args.count.unwrap_or(u64::MAX);
    let prefetch = u32::try_from(wanted.clamp(1, PREFETCH)).unwrap_or(u32::MAX);
    let subscribe = Subscribe {
        name: args.durable.clone().unwrap_or_default(),
        consume: Consume { prefetch, lease: None },
        ..Subscribe::default()
    };
    let mut messages = client.subscribe(&args.topic, subscribe).await?;
    let mut printer = Printer { shape, out: BufWriter::new(io::stdout()), left: wanted, gaps: 0 };
    while printer.left > 0 {
        let next = tokio::select! {
            next = messages.next() => next?,
            () = interrupts.next() => None,
        };
        let Some(next) = next else { break };
        if !printer.print(next, &mut messages).map_err(Failure::other)? {
            break;
        }
    }
    // What was fetched and not printed goes back; what was printed is settled for good.
    drop(messages);
    let closing = client.close();
    tokio::select! {
        closed = closing => Ok(closed?),
        // Whoever asks twice does not want to wait.
        () = interrupts.next() => Err(Failure::Other("interrupted".to_owned())),
    }
}

struct Printer<'a> {
    shape: &'a Shape,
    out: BufWriter<io::Stdout>,
    left: u64,
    gaps: u64,
}

impl Printer<'_> {
    /// Prints a message and those that have come too, and then acknowledges them. False when
    /// nobody reads any more.
    fn print(&mut self, first: Delivery, messages: &mut Consumer) -> io::Result<bool> {
        self.tell_gaps(messages);
        let mut printed = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match self.shape.write(&mut self.out, &message) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
                written => written?,
            }
            printed.push(message);
            self.left -= 1;
            let more = self.left > 0 && printed.len() < BATCH;
            next = if more { messages.try_next() } else { None };
        }
        match self.out.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            flushed => flushed?,
        }
        // Acknowledged only once it is out: a crash in between repeats it.
        for message in printed {
            // A lease that is lost means that it comes again.
            let _ = message.ack();
        }
        Ok(true)
    }

    #[expect(clippy::print_stderr, reason = "standard output is for messages")]
    fn tell_gaps(&mut self, messages: &Consumer) {
        let gaps = messages.gaps();
        if gaps > self.gaps {
            eprintln!("sluice: {} messages were lost: they came too fast", gaps - self.gaps);
            self.gaps = gaps;
        }
    }
}
