//! The one table of reply codes; doors translate it into a status, a frame or a word.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal, $status:literal;)+) => {
        /// Why a request did not do what was asked, the same behind every door.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])+ $variant,)+ }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code's name on the wire and in logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The number that goes with it, after HTTP's.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }
        }
    };
}

codes! {
    /// The request could not be read.
    BadRequest = "bad_request", 400;
    /// The client has not said who it is, or not proved it.
    Unauthenticated = "unauthenticated", 401;
    /// The client may not do this.
    Forbidden = "forbidden", 403;
    /// There is no such thing; for a settled lease clients treat it as done.
    NotFound = "not_found", 404;
    /// The path exists, with other methods.
    MethodNotAllowed = "method_not_allowed", 405;
    /// The request did not arrive in time.
    Timeout = "timeout", 408;
    /// Another one of that name, revision or dedupe id exists.
    Conflict = "conflict", 409;
    /// The lease is no longer the valid one; nothing was changed.
    LeaseLost = "lease_lost", 409;
    /// The history asked for is no longer kept.
    Gone = "gone", 410;
    /// A frame, line, body or message is larger than its bound.
    TooLarge = "too_large", 413;
    /// The host asked for is not this one.
    Misdirected = "misdirected", 421;
    /// Well-formed, but a value is out of range.
    Invalid = "invalid", 422;
    /// The protocol version is not supported.
    Version = "version", 426;
    /// A queue is at one of its bounds.
    QueueFull = "queue_full", 429;
    /// A limit refuses the request for now.
    RateLimited = "rate_limited", 429;
    /// The fault is the server's.
    Internal = "internal", 500;
    /// It may or may not have happened; retry with the same dedupe id.
    Indeterminate = "indeterminate", 500;
    /// Too much is waiting already.
    Overloaded = "overloaded", 503;
    /// The broker is draining.
    ShuttingDown = "shutting_down", 503;
    /// The disk has no room.
    NoSpace = "no_space", 507;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_statuses_are_errors() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert!((400..600).contains(&code.status()), "{code}");
            assert!(Code::ALL[..at].iter().all(|other| other.name() != code.name()), "{code}");
        }
    }
}
