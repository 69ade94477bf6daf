//! What must hold for any frame of version 2 that was read, for tests and for the fuzz target.

use sluice_protocol::binary::v2::{ClientFrame, Deliver, ExtrasRef, Leases, Messages, ServerFrame};

fn walk_extras(extras: Option<ExtrasRef<'_>>) {
    if let Some(extras) = extras {
        let bytes: usize = extras.headers().map(|(name, value)| name.len() + value.len()).sum();
        assert!(bytes <= extras.bytes().len());
        assert_eq!(extras.fields().next().is_none(), extras.bytes().is_empty());
        let _ = extras.to_model().validate();
    }
}

pub(crate) fn walk_messages(messages: &Messages<'_>) {
    let (mut count, mut payload_bytes, mut plain) = (0, 0, true);
    for message in messages.iter() {
        walk_extras(message.extras);
        assert_eq!(
            messages.bytes().get(message.at..).unwrap().get(..message.payload.len()),
            Some(message.payload)
        );
        (count, payload_bytes) = (count + 1, payload_bytes + message.payload.len());
        plain &= message.extras.is_none();
    }
    let seen = (messages.count(), messages.payload_bytes(), messages.is_plain());
    assert_eq!((count, payload_bytes, plain), seen);
    assert_eq!(messages.copied().map(|block| block.count()), plain.then_some(count));
}

fn walk_leases(leases: &Leases<'_>) {
    let tags: u64 = leases.ranges().map(|range| range.last - range.first + 1).sum();
    assert!(tags <= 65_535);
    assert_eq!(leases.tokens().count() > 0, leases.are_tokens());
    assert_eq!(tags > 0, !leases.are_tokens());
}

pub(crate) fn walk_request(request: &ClientFrame<'_>) {
    match request {
        ClientFrame::Publish(publish) => walk_messages(&publish.messages),
        ClientFrame::Settle(settle) => {
            walk_leases(&settle.leases);
            let _ = settle.head.to_model();
        }
        ClientFrame::Extend(extend) => walk_leases(&extend.leases),
        ClientFrame::Subscribe(subscribe) => {
            let settings = &subscribe.settings;
            assert_eq!(settings.iter().count(), usize::from(settings.count()));
        }
        _ => {}
    }
}

pub(crate) fn walk_answer(answer: &ServerFrame<'_>) {
    match answer {
        ServerFrame::Receipt(receipt) => {
            assert_eq!(receipt.iter().count(), usize::from(receipt.count()));
        }
        ServerFrame::Settled(settled) => {
            assert_eq!(settled.refused().count(), usize::from(settled.count()));
        }
        ServerFrame::Deliver(deliver) => match &deliver.messages {
            Deliver::AtMostOnce { messages, .. } => walk_messages(messages),
            Deliver::AtLeastOnce(deliveries) => {
                deliveries.iter().for_each(|delivery| walk_extras(delivery.extras));
                assert_eq!(deliveries.iter().count(), usize::from(deliveries.count()));
            }
        },
        ServerFrame::Changes(changes) => {
            assert_eq!(changes.iter().count(), usize::from(changes.count()));
            for change in changes.iter() {
                let _ = change.to_model();
            }
        }
        _ => {}
    }
}
