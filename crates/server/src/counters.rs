//! What the doors count; process-wide, and never down when a connection closes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        if by > 0 {
            self.0.fetch_add(by, Relaxed);
        }
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// The doors' counters, shared by all connections.
        #[derive(Debug, Default)]
        pub struct Counters { $(pub(crate) $name: Counter,)+ }

        /// The doors' counters as they stood at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct CountersSnapshot { $($(#[$doc])+ pub $name: u64,)+ }

        impl Counters {
            /// The counters as they stand.
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.value(),)+ }
            }
        }

        impl CountersSnapshot {
            /// Every counter with its name, in the order of the table.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }

            pub(crate) fn log(&self) {
                tracing::info!($($name = self.$name,)+ "doors closed");
            }
        }
    };
}

counters! {
    /// Connections accepted, refused ones included.
    accepted,
    /// Accepts that failed and were tried again.
    accept_failures,
    /// Connections closed at once: too many are open.
    rejected_connections,
    /// Connections closed at once: too many from their address.
    rejected_address,
    /// Connections closed at once: they come too fast.
    rejected_rate,
    /// Connections closed at once: memory is short.
    rejected_memory,
    /// Connections closed when they authenticated: too many with their key.
    rejected_principal,
    /// Connections closed for a first byte that no door takes.
    rejected_first_byte,
    /// Connections that began TLS, which is not configured.
    rejected_tls,
    /// Connections that did not begin TLS where they have to.
    rejected_plaintext,
    /// TLS handshakes that went well.
    tls_handshakes,
    /// Handshakes that took too long.
    tls_timeouts,
    /// Handshakes that broke off.
    tls_broken,
    /// Handshakes of clients that showed no certificate where they have to.
    tls_no_client_certificate,
    /// Handshakes of clients whose certificate nobody vouches for, or no longer.
    tls_bad_client_certificate,
    /// Handshakes with no version, cipher or protocol in common.
    tls_incompatible,
    /// Handshakes that the client gave up, often because it does not trust the certificate.
    tls_refused_by_client,
    /// Handshakes that can't be read.
    tls_malformed,
    /// Times that the certificate was replaced.
    certificate_reloads,
    /// Connections that spoke HTTP to the line door.
    rejected_http,
    /// Connections closed for a frame too large for one that is not yet ready.
    rejected_early_frame,
    /// Connections closed because nobody authenticated in time.
    first_frame_timeouts,
    /// Connections closed because they were silent for too long.
    idle_timeouts,
    /// Connections closed because they took no answers.
    write_timeouts,
    /// Connections of the binary door.
    binary_connections,
    /// Connections of the line door.
    line_connections,
    /// Connections of the HTTP door.
    http_connections,
    /// Requests at the HTTP door.
    http_requests,
    /// Of these, refused: answered with a status of 400 or above.
    http_refusals,
    /// HTTP connections ended because what came can't be read, or could be read in two ways.
    http_malformed,
    /// HTTP connections ended because the head of a request was too large.
    http_heads_too_large,
    /// HTTP connections ended because the head of a request did not come in time.
    http_heads_too_slow,
    /// HTTP requests ended because their bodies came too slowly.
    http_bodies_too_slow,
    /// HTTP connections closed because an answer made no progress.
    http_write_timeouts,
    /// Times that an HTTP connection waited, unread, until others had had their turn.
    http_turns_awaited,
    /// Requests refused because a limit of their client or of all was reached.
    rate_limited,
    /// Requests delayed by such a limit.
    rate_delayed,
    /// Requests refused because all workers were busy and the queue in front of them was full.
    rejected_full,
    /// Requests refused because too many waited for something.
    rejected_parked,
    /// HTTP requests refused for the host that they asked for.
    http_foreign_hosts,
    /// HTTP requests refused because a page of another site sent them.
    http_foreign_origins,
    /// Messages taken by `POST /enqueue`.
    http_enqueues,
    /// Messages given by `GET /dequeue`.
    http_dequeues_ok,
    /// Times that `GET /dequeue` had nothing to give.
    http_dequeues_empty,
    /// Connections to the admin socket, refused ones included.
    admin_connections,
    /// Of these, closed at once: another user's, or too many.
    rejected_admin,
    /// Requests at the admin socket.
    admin_requests,
    /// Of these, refused.
    admin_refusals,
    /// Frames read.
    frames,
    /// Lines read.
    lines,
    /// Streams that stopped being frames.
    decode_errors,
    /// Refusals sent, as NACK frames or error lines.
    refusals,
    /// Wrong keys.
    auth_failures,
    /// Authentications that had to wait after too many wrong keys.
    auth_delays,
    /// Times that the keys were replaced.
    key_reloads,
    /// Connections closed because their key is gone or covers less.
    revoked,
    /// Connections ended by a panic.
    panics,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_names_what_was_counted() {
        let counters = Counters::default();
        counters.frames.add(3);
        counters.panics.one();
        let counted: Vec<_> = counters.snapshot().iter().filter(|(_, value)| *value > 0).collect();
        assert_eq!(counted, [("frames", 3), ("panics", 1)]);
    }
}
