//! The client: one connection, many handles.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sluice_flow::Random;
use sluice_model::{LeaseId, Outcome, Timestamp};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::core::Core;
use crate::core::requests::{Answer, Ask, Leases, Reply};
use crate::core::settlements::How;
use crate::delivery::Delivery;
use crate::driver::Driver;
use crate::error::{Error, Refused};
use crate::options::Options;
use crate::publisher::Publisher;
use crate::shared::{Handles, Shared};
use crate::tls::Secure;
use sluice_protocol::Token;

/// A connection to a broker, made again when it is lost. Clones are handles of the same.
///
/// When the last handle is gone (publishers, consumers and deliveries count too) the connection
/// ends, once all that was asked is answered.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use sluice_client::{Client, Options};
///
/// let client = Client::connect("127.0.0.1:5555", Options::default()).await?;
/// let orders = client.to_topic("orders.eu");
/// let confirm = orders.publish("one").await;
/// orders.publish("two").await.await?; // the second one is on the disk
/// confirm.await?; // and so is the first
/// # Ok(())
/// # }
/// ```
pub struct Client {
    handles: Arc<Handles>,
    /// Losses of messages at most once that a flush of this handle has told.
    losses_told: AtomicU64,
}

impl Clone for Client {
    fn clone(&self) -> Self {
        let losses_told = self.losses_told.load(Ordering::Relaxed);
        Self { handles: Arc::clone(&self.handles), losses_told: losses_told.into() }
    }
}

/// How messages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// At most so many; 1 or more.
    pub max: u16,
    /// How long to wait for the first one.
    pub wait: Duration,
    /// Time to settle each; none for the queue's.
    pub lease: Option<Duration>,
    /// Bind the leases to no connection: each message comes with a token.
    pub unbound: bool,
}

impl Default for Receive {
    fn default() -> Self {
        Self { max: 1, wait: Duration::ZERO, lease: None, unbound: false }
    }
}

/// What a receive brought.
#[derive(Debug, Default)]
pub struct Received {
    /// What there was.
    pub messages: Vec<Delivery>,
    /// Where there was nothing: in how long there will be something, if the broker knows, so that
    /// nobody has to ask again and again. It may be sooner than that something comes, never later.
    pub next_eligible: Option<Duration>,
}

/// How a lease is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settle {
    /// The message is dealt with.
    Ack,
    /// It is given back.
    Nack(Outcome),
}

/// What a client counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// PUBLISH frames that were sent again after a lost connection.
    pub frames_sent_again: u64,
    /// Settlements without confirmation that the broker refused: the messages come again.
    pub settlements_refused: u64,
    /// Refusals of what nobody waits for, such as publishes at most once.
    pub quiet_errors: u64,
}

impl Client {
    /// Connects to `server`, `HOST:PORT`. The first try decides: only later connections are made
    /// again and again.
    ///
    /// # Errors
    /// The options make no sense, a file that they name can't be used, the broker can't be reached
    /// or refuses.
    pub async fn connect(server: impl Into<String>, options: Options) -> Result<Self, Error> {
        options.validate()?;
        let server = server.into();
        let secure = options.tls.as_ref().map(|tls| Secure::load(tls, &server)).transpose()?;
        let seed = getrandom::u64()
            .map_err(|error| Error::io("no random bits", std::io::Error::other(error)))?;
        let mut draws = Random::new(seed);
        let shared = Shared::new(Core::new(&options, draws.number()));
        let (handed, retained) = (Arc::clone(&shared), options.clone());
        let handles = Arc::new(Handles { shared: handed, options: retained });
        let client = Self { handles, losses_told: AtomicU64::new(0) };
        let (first, connected) = oneshot::channel();
        tokio::spawn(Driver { shared, server, secure, options, draws }.run(first));
        connected.await.unwrap_or(Err(Error::Closed))?;
        Ok(client)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handles.shared
    }

    /// Publishes to a topic.
    pub fn to_topic(&self, topic: &str) -> Publisher {
        Publisher::new(self.clone(), topic, false)
    }

    /// Publishes to a queue by name.
    pub fn to_queue(&self, queue: &str) -> Publisher {
        Publisher::new(self.clone(), queue, true)
    }

    /// Takes messages from a queue: those that are there, or the first that comes in time. No
    /// message is an empty list.
    ///
    /// # Errors
    /// The broker refuses, or the connection was lost for too long.
    pub async fn receive(&self, queue: &str, receive: Receive) -> Result<Vec<Delivery>, Error> {
        Ok(self.receive_or_wait(queue, receive).await?.messages)
    }

    /// The same, and where there is nothing, when there will be something: who asks without waiting
    /// waits so long before the next time.
    ///
    /// # Errors
    /// As [`Client::receive`].
    pub async fn receive_or_wait(&self, queue: &str, receive: Receive) -> Result<Received, Error> {
        let Receive { max, wait, lease, unbound } = receive;
        let (wait_ms, lease_ms) = (millis(wait), lease.map_or(0, millis));
        let (queue, max) = (queue.into(), max.max(1));
        let ask = Ask::Receive { queue, max, wait_ms, lease_ms, unbound };
        match self.ask_for(ask, wait).await? {
            Answer::Delivered { messages, next_eligible } => {
                let deliver = |message| Delivery::new(self.clone(), message);
                Ok(Received {
                    messages: messages.into_iter().map(deliver).collect(),
                    next_eligible,
                })
            }
            _ => Ok(Received::default()),
        }
    }

    /// Settles leases by their tokens. Those that were refused come back with the reason;
    /// `indeterminate` where the connection was lost meanwhile and the lease is gone: the first try
    /// may have settled it.
    ///
    /// # Errors
    /// The broker refuses all, or the connection was lost for too long.
    pub async fn settle(
        &self,
        tokens: &[Token],
        settle: Settle,
    ) -> Result<Vec<(Token, Refused)>, Error> {
        let how = match settle {
            Settle::Ack => How::ack(),
            Settle::Nack(outcome) => outcome.into(),
        };
        let tokens = tokens.iter().map(|token| token.0).collect();
        Ok(settled(self.ask_for(Ask::Settle { how, tokens, again: false }, Duration::ZERO).await?)
            .0)
    }

    /// Takes more time, counted from now, for leases by their tokens. Those that were refused come
    /// back with the reason, and so does the earliest of the new deadlines.
    ///
    /// # Errors
    /// The broker refuses all, or the connection was lost for too long.
    pub async fn extend(
        &self,
        tokens: &[Token],
        by: Duration,
    ) -> Result<(Vec<(Token, Refused)>, Timestamp), Error> {
        let leases = Leases::Tokens(tokens.iter().map(|token| token.0).collect());
        let ask = Ask::Extend { by_ms: millis(by), leases };
        Ok(settled(self.ask_for(ask, Duration::ZERO).await?))
    }

    /// Asks anything that can be asked of a queue: a verb and its JSON, as the document of the JSON
    /// interface says. The answer is JSON too.
    ///
    /// # Errors
    /// The broker refuses, or the connection was lost. Verbs that only look are asked again on a
    /// new connection; of others [`Error::Lost`] says that they may have had their effect.
    pub async fn control(
        &self,
        verb: impl Into<Cow<'static, str>>,
        json: impl Into<String>,
    ) -> Result<String, Error> {
        let ask = Ask::Control { verb: verb.into(), json: json.into() };
        match self.ask_for(ask, Duration::ZERO).await? {
            Answer::Json(json) => Ok(json),
            _ => Err(Error::protocol("no RESULT for a CONTROL")),
        }
    }

    /// Waits until all that was published before has reached its level or was refused. For
    /// messages at most once this is the only sign that they arrived. What was refused for now and
    /// is to be tried again is not waited for.
    ///
    /// # Errors
    /// [`Error::Lost`]: the connection was lost meanwhile, or since the last flush of this handle
    /// with messages at most once on it, also those of other handles. They have arrived or not.
    pub async fn flush(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.shared().change(|core| core.fence(Reply(Some(reply))));
        let answer = timeout(self.handles.options.request_timeout, answer).await;
        answer.map_err(|_| Error::Timeout)?.unwrap_or(Err(Error::Closed))?;
        let losses = self.shared().core().publishes.losses;
        let told = self.losses_told.swap(losses, Ordering::Relaxed);
        if told == losses { Ok(()) } else { Err(Error::Lost) }
    }

    /// Ends the connection once all that was asked, also by other handles, is answered.
    ///
    /// # Errors
    /// The connection was lost before.
    pub async fn close(self) -> Result<(), Error> {
        let flushed = self.flush().await;
        let mut ended = self.shared().ended.subscribe();
        self.shared().core().finish();
        self.shared().work.notify_one();
        // The sender is in what this handle holds.
        let _ = ended.wait_for(|ended| *ended).await;
        flushed
    }

    /// What was counted until now.
    pub fn counters(&self) -> Counters {
        let core = self.shared().core();
        Counters {
            frames_sent_again: core.publishes.frames_again,
            settlements_refused: core.settlements.refused + core.requests.settlements_refused,
            quiet_errors: core.quiet_errors,
        }
    }

    /// Asks, again after 429 and 503, within the time for requests and `wait` on top of it.
    pub(crate) async fn ask_for(&self, ask: Ask, wait: Duration) -> Result<Answer, Error> {
        self.retried(wait, || self.shared().ask(ask.clone())).await
    }

    /// Does something again as long as it is refused for now, as the options say, within the time
    /// for requests and `wait` on top of it.
    pub(crate) async fn retried<T, F>(
        &self,
        wait: Duration,
        once: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let within = self.handles.options.request_timeout.saturating_add(wait);
        timeout(within, self.retried_on(once)).await.unwrap_or(Err(Error::Timeout))
    }

    async fn retried_on<T, F>(&self, mut once: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (retry, since) = (&self.handles.options.retry, Instant::now());
        for tries in 1.. {
            let refused = match once().await {
                Err(Error::Refused(refused)) if refused.is_for_now() => refused,
                done => return done,
            };
            if tries > retry.tries_max || since.elapsed() >= retry.time_max {
                return Err(Error::Refused(refused));
            }
            let draw = getrandom::u64().unwrap_or_default();
            let pause = retry.backoff.delay(tries, draw);
            sleep(refused.retry_after.unwrap_or_default().saturating_add(pause)).await;
        }
        Err(Error::Timeout)
    }
}

fn settled(answer: Answer) -> (Vec<(Token, Refused)>, Timestamp) {
    let Answer::Settled { refused, deadline } = answer else {
        return (Vec::new(), Timestamp::EPOCH);
    };
    let by_token =
        |(lease, refused): (Option<LeaseId>, Refused)| lease.map(|lease| (Token(lease), refused));
    (refused.into_iter().filter_map(by_token).collect(), deadline)
}

/// Milliseconds, at most as many as 32 bits hold; what is shorter than one is one.
pub(crate) fn millis(time: Duration) -> u32 {
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    if time.is_zero() { 0 } else { millis.max(1) }
}
