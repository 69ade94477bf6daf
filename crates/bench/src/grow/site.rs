//! One point: a broker of its own, filled and connected to before anything counts.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::point::{Point, Scale};
use super::rounds::{Client, Work};
use crate::compare::{Figure, Figures};
use crate::load::{Consumer, Message, Tally};
use crate::process::{Broker, Launch};
use crate::targets::{Attached, Place, Service, Sluice, TargetError, rounds};
use crate::usage;
use crate::wire::Conn;

const MESSAGE: Message = Message { bytes: 128, content: true };
/// A broker that answers nothing after so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked.
const STEP: Duration = Duration::from_micros(500);

/// What the kernel has is confirmed, so that no figure is the disk's; bounds that nothing meets.
const CONFIG: &str = "durability = \"os\"\nmax_messages = 1000000000\nmax_bytes = 1099511627776\n\
                      queues_max = 1000000\nqueues_per_principal = 1000000\n";

/// A broker, and the client that loads it.
pub(super) struct Site {
    point: Point,
    launch: Launch,
    broker: Option<Broker>,
    client: Client,
    /// The queue that is taken from after a start.
    first_queue: String,
    _folder: TempDir,
}

impl Site {
    /// Starts it and brings it to where the point is.
    pub(super) fn open(
        sluice: &Sluice,
        dir: &Path,
        point: Point,
        scale: &Scale,
    ) -> Result<Self, TargetError> {
        let folder = tempfile::tempdir_in(dir)?;
        let launch = sluice.launch(CONFIG, folder.path())?;
        let broker = launch.start()?;
        let queues: Vec<String> = (0..point.queues()).map(|no| format!("grow-{no:06}")).collect();
        let first_queue = queues.first().cloned().unwrap_or_default();
        let mut service = attached(&broker, &first_queue);
        rounds::declare(&mut Conn::over(service.idle()?)?, &queues)?;
        let streams = (0..point.connections()).map(|_| service.idle());
        let streams = streams.collect::<Result<Vec<_>, _>>()?;
        let mut client = Client::new(streams, queues, MESSAGE)?;
        client.run(scale.filling(point))?;
        Ok(Self { point, launch, broker: Some(broker), client, first_queue, _folder: folder })
    }

    /// Has the work done once, and says what each message cost.
    pub(super) fn measure(&mut self, work: Work) -> Result<Figures, TargetError> {
        let pid = self.broker.as_ref().map(Broker::pid).ok_or(TargetError::Unsupported)?;
        let before = usage::cpu_time(pid)?;
        let elapsed = self.client.run(work)?;
        let used = usage::cpu_time(pid)?.saturating_sub(before);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / work.messages() as f64;
        Ok(Figures::from([(Figure::Cpu, each(used)), (Figure::Elapsed, each(elapsed))]))
    }

    /// Whether the broker has as many messages as it should.
    pub(super) fn check(&self) -> Result<(), TargetError> {
        let Some(broker) = &self.broker else { return Ok(()) };
        if self.point.queues() > 1 {
            return Ok(());
        }
        let (due, there) = (self.client.backlog(), place(broker, &self.first_queue).queued()?);
        if due == there {
            return Ok(());
        }
        Err(TargetError::Messages(format!("{there} messages wait where {due} are due")))
    }

    /// Kills the broker and says how long it is until it gives, or says that there is nothing.
    pub(super) fn start(&mut self) -> Result<Figures, TargetError> {
        if let Some(broker) = self.broker.take() {
            broker.kill()?;
        }
        let started = Instant::now();
        let broker = self.launch.start()?;
        let mut tally = Tally::of(MESSAGE);
        let mut first = None;
        let (mut consumer, elapsed) = loop {
            match take(&broker, &self.first_queue, &mut |bytes| first = Some(tally.message(bytes)))
            {
                Ok(consumer) => break (consumer, started.elapsed()),
                Err(error) if started.elapsed() > PATIENCE => return Err(error),
                // It does not serve yet.
                Err(_) => thread::sleep(STEP),
            }
        };
        consumer.finish()?;
        self.broker = Some(broker);
        let due = (self.client.backlog() > 0).then_some(self.client.taken + 1);
        if first != due {
            let fault = format!("after a start {first:?} came where {due:?} was due");
            return Err(TargetError::Messages(fault));
        }
        self.client.taken += u64::from(due.is_some());
        Ok(Figures::from([(Figure::Start, elapsed.as_secs_f64() * 1e3)]))
    }
}

/// A consumer that has asked for one message and was answered.
fn take(
    broker: &Broker,
    queue: &str,
    each: &mut dyn FnMut(&[u8]),
) -> Result<Box<dyn Consumer>, TargetError> {
    let mut consumer = attached(broker, queue).consumer()?;
    consumer.turn(1, each)?;
    Ok(consumer)
}

fn place(broker: &Broker, queue: &str) -> Place {
    Place::new(broker.tcp_addr(), None, queue)
}

fn attached(broker: &Broker, queue: &str) -> Attached {
    Attached { place: place(broker, queue), pid: Some(broker.pid()) }
}
