//! Signs of life for a supervisor that would start the broker anew without them.
//!
//! Each follows a request through a session that the broker has answered: somebody has time for
//! it, and whoever holds the broker's lock gives it back. A request that is not answered gives no
//! sign. Disks are not looked at: one that hangs is there after another start as well.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sluice_broker::Broker;
use sluice_model::{Client, Command, Principal, Reply, Request};
use tokio::time::{sleep, timeout};

/// How often a sign is due: twice in the time that the supervisor waits for one, if it does.
pub(crate) fn period() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let meant = variable("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let micros = variable("WATCHDOG_USEC").filter(|micros| meant && *micros > 1)?;
    Some(Duration::from_micros(micros / 2))
}

/// Gives a sign of life each `period` as long as `broker` answers.
pub(crate) async fn watch(broker: Broker, period: Duration, sign: impl Fn()) {
    signs(period, || answers(broker.clone()), sign).await;
}

async fn signs<P: Future<Output = ()>>(period: Duration, probe: impl Fn() -> P, sign: impl Fn()) {
    loop {
        match timeout(period, probe()).await {
            Ok(()) => sign(),
            Err(_) => tracing::error!(?period, "the broker has not answered in time"),
        }
        sleep(period).await;
    }
}

/// Waits until the broker has answered.
async fn answers(broker: Broker) {
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut session = broker.open(Client { principal: Principal::Anonymous, peer });
    let mut requests = VecDeque::from([Request { tag: 1, command: Command::Fence }]);
    let mut replies: Vec<Reply> = Vec::new();
    while replies.is_empty() {
        session.submit(&mut requests);
        session.take_replies(&mut replies);
        if replies.is_empty() {
            session.replies().await;
            session.take_replies(&mut replies);
        }
    }
    session.written(replies.iter().map(Reply::weight).sum());
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn there_is_no_sign_of_life_without_an_answer() {
        let (given, asked) = (Cell::new(0), Cell::new(0));
        let probe = || async {
            asked.set(asked.get() + 1);
            if asked.get() == 3 {
                std::future::pending::<()>().await;
            }
        };
        let sign = || given.set(given.get() + 1);
        tokio::select! {
            () = signs(Duration::from_millis(1), probe, sign) => {}
            () = async { while asked.get() < 6 { tokio::task::yield_now().await } } => {}
        }
        // Each was answered but the third.
        assert_eq!(given.get(), asked.get() - 1);
    }
}
