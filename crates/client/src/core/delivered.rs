//! Messages as they come out of DELIVER frames.

use std::sync::Arc;

use bytes::Bytes;
use sluice_model::{Extras, LeaseId, MessageId, Qos, Timestamp};
use sluice_protocol::binary::v2::{Deliver, DeliverRef, DeliveryRef, ExtrasRef};

/// A message that was delivered, with all that settles it.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) qos: Qos,
    pub(crate) topic: Arc<str>,
    pub(crate) sender: Arc<str>,
    pub(crate) payload: Bytes,
    pub(crate) extras: Option<Box<Extras>>,
    pub(crate) published_at: Timestamp,
    /// Nothing at most once.
    pub(crate) lease: Option<Lease>,
    /// Which connection it came by.
    pub(crate) epoch: u64,
    /// To which consumer it was pushed.
    pub(crate) consumer: Option<u64>,
}

/// What only a message at least once has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) tag: u64,
    pub(crate) token: Option<LeaseId>,
    pub(crate) id: MessageId,
    pub(crate) deadline: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) failures: u32,
    pub(crate) redelivered: bool,
}

/// Topic and sender of the frame before, which are most often those of the next one too.
#[derive(Default)]
pub(crate) struct Names {
    topic: Option<Arc<str>>,
    sender: Option<Arc<str>>,
}

fn name(kept: &mut Option<Arc<str>>, name: &str) -> Arc<str> {
    match kept {
        Some(kept) if **kept == *name => Arc::clone(kept),
        _ => Arc::clone(kept.insert(name.into())),
    }
}

/// The messages of a frame, which share the memory of its payload.
pub(crate) fn read(
    deliver: &DeliverRef<'_>,
    payload: &Bytes,
    epoch: u64,
    consumer: Option<u64>,
    names: &mut Names,
) -> Vec<Delivered> {
    let topic = name(&mut names.topic, deliver.topic);
    let sender = name(&mut names.sender, deliver.sender);
    let extras = |extras: Option<ExtrasRef<'_>>| extras.map(|extras| Box::new(extras.to_model()));
    let message = |qos, bytes, extras, published_at, lease| Delivered {
        qos,
        topic: Arc::clone(&topic),
        sender: Arc::clone(&sender),
        payload: payload.slice_ref(bytes),
        extras,
        published_at,
        lease,
        epoch,
        consumer,
    };
    match &deliver.messages {
        Deliver::AtMostOnce { published_at, messages } => messages
            .iter()
            .map(|one| {
                message(Qos::AtMostOnce, one.payload, extras(one.extras), *published_at, None)
            })
            .collect(),
        Deliver::AtLeastOnce(deliveries) => deliveries
            .iter()
            .map(|one| {
                let (at, lease) = (one.published_at, Some(lease(&one)));
                message(Qos::AtLeastOnce, one.payload, extras(one.extras), at, lease)
            })
            .collect(),
    }
}

const fn lease(delivery: &DeliveryRef<'_>) -> Lease {
    let DeliveryRef { tag, token, id, deadline, attempt, failures, redelivered, .. } = *delivery;
    Lease { tag, token, id, deadline, attempt, failures, redelivered }
}
