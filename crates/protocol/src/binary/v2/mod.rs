//! Payloads of the binary protocol's version 2: batches, confirms, pushed deliveries.
//!
//! A payload is read into a borrowed struct that is checked completely when it is made, so walking
//! its messages, ranges or entries can't fail. [`ClientFrame::read`] and [`ServerFrame::read`] go
//! by a frame's type; each payload can be read by itself too.
//!
//! What goes out is written straight into the output: whole frames by their `put`, and those that
//! hold many things by a writer ([`PublishWriter`], [`DeliverWriter`], [`ReceiptWriter`],
//! [`SettledWriter`], [`ChangesWriter`]) that takes as many as fit a longest frame. For payloads that should not be
//! copied there are functions that write all that comes before one.
//!
//! Whether a value makes sense to the broker (a name, a setting, a priority of 12) is for the
//! reader of the payload to say.

mod consume;
mod control;
mod deliver;
mod deliver_writer;
mod error;
mod extras;
mod fields;
mod frame_type;
mod frames;
mod hello;
mod list_frame;
mod messages;
mod publish;
mod receipt;
mod settle;
mod settled;
mod watch;

pub use consume::{Cancel, ConsumeRef, Credit, ReceiveRef, Settings, Source, SubscribeRef};
pub use control::{ControlRef, ErrorRef, put_error, put_going, put_result};
pub use deliver::{Deliver, DeliverRef, Deliveries, DeliveryRef};
pub use deliver_writer::{
    DeliverHead, DeliverWriter, DeliveryHead, put_deliver_block_head, put_deliver_one_head,
};
pub use error::{DecodeError, EncodeError, Fault};
pub use extras::{Extra, ExtrasRef};
pub use frame_type::FrameType;
pub use frames::{
    ClientFrame, ServerFrame, put_auth, put_confirm, put_consuming, put_empty, put_gap, put_ok,
    put_ping, put_pong,
};
pub use hello::{Hello, Welcome};
pub use messages::{MessageRef, Messages};
pub use publish::{PublishHead, PublishRef, PublishWriter, put_publish_one_head};
pub use receipt::{Receipt, ReceiptRef, ReceiptWriter};
pub use settle::{
    ExtendRef, LeaseSet, Leases, SettleHead, SettleRef, Settlement, TagRange, put_extend,
};
pub use settled::{RefusedLease, SettledRef, SettledWriter};
pub use watch::{ChangeRef, ChangesRef, ChangesWriter, WatchRef, Watching};

/// The version that these payloads belong to.
pub const PROTOCOL_VERSION: u16 = 2;
/// The least that a peer may name as its longest frame, 64 KiB.
pub const FRAME_MAX_MIN: u32 = 64 << 10;
/// Most delivery tags that the ranges of one frame may name together.
pub const TAGS_MAX: u64 = 65_535;
/// As much credit as a consumer can have.
pub const CREDIT_MAX: u32 = 1_000_000;
/// Bytes of a token.
pub const TOKEN_BYTES: usize = 32;
/// What EMPTY says where nobody knows when there will be something.
pub const NEXT_UNKNOWN: u32 = u32::MAX;
