//! A real broker on a disk that something else fills: a small tmpfs, where mounting is allowed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use sluice_bench::process::Launch;
use sluice_bench::v1::{Client, ClientError};

use crate::run::{again_in_release, is_slow, release_broker, target};

const MESSAGES: u64 = 2_000;
const PAYLOAD: usize = 16 << 10;
/// How often the disk fills while publishes come in. A checkpoint takes 512 messages, and the
/// rounds are spread over what comes between two.
const ROUNDS: u64 = 16;
const SPREAD: u64 = 37;
const REFUSED_WITHIN: Duration = Duration::from_millis(10);
const ENDS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Parser)]
pub(crate) struct FullArgs {
    /// The broker's binary; else it is built
    #[arg(long, value_name = "FILE")]
    bin: Option<PathBuf>,
}

/// A tmpfs of its own, gone with the value.
struct Mount(PathBuf);

impl Mount {
    fn new(at: PathBuf) -> anyhow::Result<Option<Self>> {
        std::fs::create_dir_all(&at)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256m", "tmpfs"]).arg(&at);
        Ok(mount.status().is_ok_and(|status| status.success()).then_some(Self(at)))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Takes all that is free.
fn fill(path: &Path) -> anyhow::Result<u64> {
    let mut file = File::create(path)?;
    let block = vec![0xff; 1 << 20];
    let mut size = block.len();
    while size > 0 {
        match file.write(&block[..size]) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(file.metadata()?.len())
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = vec![b'.'; PAYLOAD];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload
}

/// Publishes one message and waits for its fate; false if it was refused.
fn publish(client: &mut Client, number: u64) -> anyhow::Result<bool> {
    client.publish("t", 1, &payload(number))?;
    match client.fence() {
        Ok(()) => Ok(true),
        Err(ClientError::Refused(nack)) if nack.message.contains("disk") => {
            client.await_pong()?;
            Ok(false)
        }
        Err(error) => Err(error).context("a publish was not refused in order"),
    }
}

/// Publishes until one is refused; gives how long that took.
fn first_refusal(
    publisher: &mut Client,
    number: &mut u64,
    taken: &mut BTreeSet<u64>,
) -> anyhow::Result<Duration> {
    loop {
        let asked = Instant::now();
        if !publish(publisher, *number)? {
            return Ok(asked.elapsed());
        }
        taken.insert(*number);
        *number += 1;
    }
}

/// Publishes until one is taken; gives how long that took.
fn end_of_mode(publisher: &mut Client, number: u64) -> anyhow::Result<Duration> {
    let freed = Instant::now();
    while !publish(publisher, number)? {
        ensure!(freed.elapsed() < 10 * ENDS_WITHIN, "the mode does not end");
    }
    Ok(freed.elapsed())
}

/// The disk fills in a moment and has space again, round after round. Gives the slowest first
/// refusal.
fn rounds(
    address: SocketAddr,
    hog: &Path,
    number: &mut u64,
    taken: &mut BTreeSet<u64>,
) -> anyhow::Result<Duration> {
    let mut publisher = Client::connect(address, None)?;
    let mut consumer = Client::connect(address, None)?;
    let subscription = consumer.subscribe("t", 1)?;
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        ensure!(drain(&mut consumer, subscription)? == *taken, "round {round} lost a message");
        taken.clear();
        for _ in 0..round * SPREAD {
            ensure!(publish(&mut publisher, *number)?, "message {number} was refused too early");
            taken.insert(*number);
            *number += 1;
        }
        fill(hog)?;
        let before = *number;
        let refused = first_refusal(&mut publisher, number, taken)?;
        println!("round {round}: {} were taken, then refused in {refused:?}", *number - before);
        slowest = slowest.max(refused);
        std::fs::remove_file(hog)?;
        end_of_mode(&mut publisher, *number)?;
        taken.insert(*number);
        *number += 1;
    }
    Ok(slowest)
}

fn slowest_refusal(publisher: &mut Client, number: u64) -> anyhow::Result<Duration> {
    let mut slowest = Duration::ZERO;
    for _ in 0..1_000 {
        let asked = Instant::now();
        ensure!(!publish(publisher, number)?, "a publish was taken on a full disk");
        slowest = slowest.max(asked.elapsed());
    }
    Ok(slowest)
}

/// Takes and acknowledges until nothing comes.
fn drain(client: &mut Client, subscription: u64) -> anyhow::Result<BTreeSet<u64>> {
    let mut drained = BTreeSet::new();
    loop {
        let taken = client.take(subscription, 64)?;
        if taken.is_empty() {
            return Ok(drained);
        }
        for delivered in &taken {
            let number = delivered.message.first_chunk().copied().map(u64::from_be_bytes);
            drained.insert(number.context("a message was changed")?);
            client.ack(subscription, delivered.tag)?;
        }
        client.fence()?;
    }
}

pub(crate) fn run(args: &FullArgs) -> anyhow::Result<()> {
    if is_slow() {
        return again_in_release();
    }
    let at = target().join("full");
    let Some(mount) = Mount::new(at.clone())? else {
        println!("skipped: a tmpfs can't be mounted here");
        return Ok(());
    };
    let program = match &args.bin {
        Some(program) => program.clone(),
        None => release_broker()?,
    };
    let log = target().join("full.log");
    let config = target().join("full.toml");
    std::fs::write(&config, "segment_bytes = \"8m\"\nreplay_max = \"8m\"\n")?;
    let launch = Launch::new(&program, &mount.0.join("data"), &log).arg("--config").arg(&config);
    let broker = launch.start()?;
    Client::connect(broker.tcp_addr(), None)?.subscribe("t", 1)?;
    let mut publisher = Client::connect(broker.tcp_addr(), None)?;
    let mut taken = BTreeSet::new();
    for number in 0..MESSAGES {
        ensure!(publish(&mut publisher, number)?, "message {number} was refused too early");
        taken.insert(number);
    }
    // In a moment, while publishes come in: some are taken, and those stay.
    let hog = mount.0.join("hog");
    let mut number = MESSAGES;
    let first = rounds(broker.tcp_addr(), &hog, &mut number, &mut taken)?;
    for _ in 0..MESSAGES {
        ensure!(publish(&mut publisher, number)?, "message {number} was refused too early");
        taken.insert(number);
        number += 1;
    }
    let hogged = fill(&hog)?;
    let before = number;
    let first = first.max(first_refusal(&mut publisher, &mut number, &mut taken)?);
    println!("filled with {} MiB, then {} were taken", hogged >> 20, number - before);
    println!("the slowest of {} first refusals after {first:?}", ROUNDS + 1);
    let slowest = slowest_refusal(&mut publisher, number)?;
    println!("1000 publishes refused, the slowest after {slowest:?}");
    // A crash and a start in the mode.
    let address = broker.tcp_addr().to_string();
    broker.kill()?;
    let began = Instant::now();
    let broker = launch.at(&address).start()?;
    println!("killed and started on the full disk in {:?}", began.elapsed());
    let mut consumer = Client::connect(broker.tcp_addr(), None)?;
    let subscription = consumer.subscribe("t", 1)?;
    let mut publisher = Client::connect(broker.tcp_addr(), None)?;
    ensure!(!publish(&mut publisher, number)?, "a publish was taken on a full disk");
    let drained = drain(&mut consumer, subscription)?;
    ensure!(drained == taken, "{} of {} messages came", drained.len(), taken.len());
    println!("drained {} messages to empty, nothing lost", drained.len());
    std::fs::remove_file(&hog)?;
    let ended = end_of_mode(&mut publisher, number)?;
    println!("publishes are taken {ended:?} after space returned");
    ensure!(drain(&mut consumer, subscription)?.len() == 1, "the last message is lost");
    ensure!(broker.terminate()?.success(), "the broker did not end in order");
    if first.max(slowest) > REFUSED_WITHIN || ended > ENDS_WITHIN {
        bail!("too slow");
    }
    Ok(())
}
