//! Where a message is in its life, and how it got there.

use std::fmt;

/// Where a message is in its life, while it is there at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// May be leased.
    Ready,
    /// Hidden until its time.
    Delayed,
    /// One consumer holds it.
    Leased,
    /// Parked in the dead set.
    Dead,
}

impl State {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Ready, Self::Delayed, Self::Leased, Self::Dead];

    /// Its name on the wire and in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Leased => "leased",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Declares an enum of reasons with the byte that stands for each on disk, and its name.
macro_rules! reasons {
    ($(#[$doc:meta])+ $name:ident { $($(#[$vdoc:meta])+ $variant:ident = $byte:literal, $text:literal;)+ }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])+ $variant,)+ }

        impl $name {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The byte that stands for it on disk; never reused.
            pub const fn as_u8(self) -> u8 {
                match self { $(Self::$variant => $byte,)+ }
            }

            /// What `byte` stands for on disk, if it stands for anything.
            pub const fn from_u8(byte: u8) -> Option<Self> {
                match byte { $($byte => Some(Self::$variant),)+ _ => None }
            }

            /// Its name on the wire and in texts.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

reasons! {
    /// Why a message is in the dead set.
    DeadReason {
        /// It failed as often as the queue allows.
        MaxFailures = 1, "max_failures";
        /// It was released more often than the queue allows.
        MaxReleases = 2, "max_releases";
        /// It ran out of time.
        Expired = 3, "expired";
        /// Its body can't be read back.
        Corrupt = 4, "corrupt";
        /// It made room for newer ones.
        Overflow = 5, "overflow";
        /// Its consumer rejected it.
        Rejected = 6, "rejected";
    }
}

reasons! {
    /// What happened to a message last.
    Transition {
        /// It was published.
        Published = 1, "published";
        /// A consumer was given it.
        Leased = 2, "leased";
        /// An attempt failed.
        Failed = 3, "failed";
        /// The time to settle it passed.
        Expired = 4, "expired";
        /// The connection of its consumer was lost.
        Lost = 5, "lost";
        /// Its consumer gave it back.
        Released = 6, "released";
        /// The broker took it back, uncounted.
        Withdrawn = 7, "withdrawn";
        /// It went to the dead set.
        Died = 8, "died";
        /// It was put back from the dead set.
        Redriven = 9, "redriven";
        /// It was given another time.
        Rescheduled = 10, "rescheduled";
        /// Its consumer took more time.
        Extended = 11, "extended";
        /// Its consumer gave it back because its key wants a pause.
        Throttled = 12, "throttled";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_lead_back_and_names_are_unique() {
        for (at, reason) in DeadReason::ALL.iter().enumerate() {
            assert_eq!(DeadReason::from_u8(reason.as_u8()), Some(*reason));
            assert!(DeadReason::ALL[..at].iter().all(|other| other.name() != reason.name()));
        }
        for (at, change) in Transition::ALL.iter().enumerate() {
            assert_eq!(Transition::from_u8(change.as_u8()), Some(*change));
            assert!(Transition::ALL[..at].iter().all(|other| other.name() != change.name()));
        }
        assert_eq!((DeadReason::from_u8(0), Transition::from_u8(0)), (None, None));
    }
}
