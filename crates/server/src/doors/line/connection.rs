//! Drives the socket of one line client.

use std::io;

use tokio::time::Instant;
use tracing::debug;

use super::session::{Session, Tally, Wants};
use crate::doors::wire::{Fill, until};
use crate::doors::{Ended, Notices, Shared, Wire};
use crate::requests::{DoorName, Outcome, Refused};

struct Connection<'a> {
    shared: &'a Shared,
    wire: Wire,
    session: Session,
    ready_by: Option<Instant>,
    heard_at: Instant,
    stalled_since: Option<Instant>,
    leaving: Option<Ended>,
}

/// Serves a client until one side ends it. What `wire` has read already comes first.
pub(crate) async fn serve(
    wire: Wire,
    shared: &Shared,
    ready_by: Option<Instant>,
    mut notices: Notices,
) -> Ended {
    let config = &shared.config;
    let mut connection = Connection {
        shared,
        wire,
        session: Session::new(config.max_line_bytes, config.out_max_bytes),
        ready_by,
        heard_at: Instant::now(),
        stalled_since: None,
        leaving: None,
    };
    let ended = connection.talk(&mut notices).await.unwrap_or_else(|error| {
        debug!(%error, "connection broke");
        Ended::Broken
    });
    connection.count();
    connection.wire.end(ended.answers_may_be_unread()).await;
    ended
}

impl Connection<'_> {
    async fn talk(&mut self, notices: &mut Notices) -> io::Result<Ended> {
        loop {
            if self.leaving.is_none() && notices.now().draining {
                let idle = self.read().await? != Fill::Bytes && self.wire.output.unsent() == 0;
                self.leaving.get_or_insert(Ended::Drained { idle });
            }
            let wants = self.session.receive(&mut self.wire.input, &mut self.wire.output);
            self.count();
            if wants == Wants::Close {
                self.shared.counters.rejected_http.one();
                return Ok(Ended::Refused);
            }
            let sent = self.flush()?;
            match self.leaving {
                Some(ended) if wants == Wants::Bytes && self.wire.output.unsent() == 0 => {
                    return Ok(ended);
                }
                _ if sent && wants == Wants::Room => continue,
                _ => self.wire.release(&self.shared.pool),
            }
            let reads = wants == Wants::Bytes && self.leaving.is_none();
            let writes = self.wire.output.unsent() > 0;
            let deadline = self.deadline();
            // Time first: a client that never stops sending must not outrun it.
            tokio::select! {
                biased;
                () = until(deadline), if deadline.is_some() => return Ok(self.timed_out()),
                readable = self.wire.socket.readable(), if reads => {
                    readable?;
                    self.read().await?;
                }
                writable = self.wire.socket.writable(), if writes => writable?,
                () = notices.drain(), if self.leaving.is_none() => {}
            }
        }
    }

    async fn read(&mut self) -> io::Result<Fill> {
        let fill = self.wire.fill(&self.shared.pool, !self.session.has_begun()).await?;
        match fill {
            Fill::Bytes => self.heard_at = Instant::now(),
            Fill::Nothing => {}
            Fill::End => self.leaving = Some(Ended::ByClient),
        }
        Ok(fill)
    }

    fn flush(&mut self) -> io::Result<bool> {
        let progress = self.wire.flush()?;
        if self.wire.output.unsent() == 0 {
            self.stalled_since = None;
        } else if progress || self.stalled_since.is_none() {
            self.stalled_since = Some(Instant::now());
        }
        if self.session.has_begun() {
            self.ready_by = None;
        }
        Ok(progress)
    }

    fn write_by(&self) -> Option<Instant> {
        self.stalled_since.map(|since| since + self.shared.config.write_timeout)
    }

    fn deadline(&self) -> Option<Instant> {
        let idle = self.shared.config.idle_timeout;
        let idle_by = (!idle.is_zero()).then(|| self.heard_at + idle);
        [self.ready_by, self.write_by(), idle_by].into_iter().flatten().min()
    }

    fn timed_out(&self) -> Ended {
        let now = Instant::now();
        let past = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let counters = &self.shared.counters;
        let (counter, ended) = if past(self.write_by()) {
            (&counters.write_timeouts, Ended::WriteTimeout)
        } else if past(self.ready_by) {
            (&counters.first_frame_timeouts, Ended::FirstFrameTimeout)
        } else {
            (&counters.idle_timeouts, Ended::IdleTimeout)
        };
        counter.one();
        ended
    }

    fn count(&mut self) {
        let Tally { lines, refusals } = self.session.take_tally();
        let mut refused = Refused::default();
        refused.note_many(Outcome::Error, refusals);
        self.shared.requests.add(DoorName::Line, lines, refused);
        self.shared.counters.lines.add(lines);
        self.shared.counters.refusals.add(refusals);
    }
}
