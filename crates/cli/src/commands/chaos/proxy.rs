//! `sluice chaos`: a proxy for clients that are to be tried.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use sluice_chaos::{Plan, Proxy, Tally};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::ProxyArgs;
use crate::commands::{client, print};
use crate::failure::Failure;

/// Serves until its time or its connections are over, or a signal comes, and sums up.
pub(crate) fn run(args: &ProxyArgs) -> Result<(), Failure> {
    let plan = plan(args)?;
    let seed = plan.seed;
    let tally = client::block_on(async {
        let listen = &args.listen;
        let proxy = Proxy::bind(listen, &args.server, plan)
            .await
            .map_err(|error| Failure::Other(format!("can't listen on {listen}: {error}")))?;
        let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        let [interrupt, terminate] = signals.map(|signal| signal.map_err(Failure::other));
        say_ready(proxy.addr(), seed)?;
        let stop = stopped(args.duration, interrupt?, terminate?);
        proxy.run(args.connections, stop).await.map_err(Failure::other)
    })?;
    print(&match args.json {
        true => format!("{}\n", to_json(seed, &tally)),
        false => told(seed, &tally),
    })
}

fn plan(args: &ProxyArgs) -> Result<Plan, Failure> {
    let seed = match args.seed {
        Some(seed) => seed,
        // Short enough to be typed.
        None => u64::from(getrandom::u32().map_err(Failure::other)?),
    };
    let ProxyArgs { delay, throttle, cut, half_close, drop_answers, faulty, .. } = *args;
    Ok(Plan { seed, delay, throttle, cut, half_close, drop_answers, faulty })
}

/// Waits for the end of the time, if there is one, or a signal.
async fn stopped(duration: Option<Duration>, mut interrupt: Signal, mut terminate: Signal) {
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Scripts wait for this line.
fn say_ready(addr: SocketAddr, seed: u64) -> Result<(), Failure> {
    print(&format!("chaos ready listen={addr} seed={seed}\n"))
}

fn told(seed: u64, tally: &Tally) -> String {
    let Tally { connections, unreachable, cut, half_closed, answers_dropped, .. } = tally;
    let Tally { to_broker, to_clients, bytes_dropped, delayed, throttled, .. } = tally;
    format!(
        "seed {seed}, {connections} connections: {cut} cut, {half_closed} half-closed, \
         {answers_dropped} robbed of answers and cut; {unreachable} without a broker\n\
         {to_broker} bytes to the broker, {to_clients} to clients, {bytes_dropped} thrown away\n\
         {delayed} pieces delayed, {throttled} throttled\n"
    )
}

fn to_json(seed: u64, tally: &Tally) -> serde_json::Value {
    let Tally { connections, unreachable, cut, half_closed, answers_dropped, .. } = tally;
    let Tally { to_broker, to_clients, bytes_dropped, delayed, throttled, .. } = tally;
    json!({
        "seed": seed,
        "connections": connections,
        "unreachable": unreachable,
        "cut": cut,
        "half_closed": half_closed,
        "answers_dropped": answers_dropped,
        "bytes_to_broker": to_broker,
        "bytes_to_clients": to_clients,
        "bytes_dropped": bytes_dropped,
        "delayed": delayed,
        "throttled": throttled,
    })
}
