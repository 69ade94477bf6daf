//! A client as users write it: one topic, one message, polled and acknowledged.
//!
//! It makes the same calls with the same types as clients that exist, so a change that would stop
//! those from compiling stops this one. It talks to a scripted server.

use std::error::Error;

// Existing clients know the crate by this name.
use sluice_protocol as net;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};

use net::{
    AckPayload, AuthPayload, Frame, FrameType, HelloPayload, NackPayload, PROTOCOL_VERSION,
    PollPayload, PublishPayload, SubscribePayload, encode_frame, try_decode_frame,
};

async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<Option<Frame>, Box<dyn Error>> {
    loop {
        if let Some(frame) = try_decode_frame(buffer)? {
            return Ok(Some(frame));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    msg_type: FrameType,
    correlation_id: u64,
    payload: bytes::Bytes,
) -> Result<(), Box<dyn Error>> {
    let mut out = BytesMut::new();
    encode_frame(&Frame { msg_type, correlation_id, payload }, &mut out)?;
    stream.write_all(&out).await?;
    Ok(())
}

async fn accepted(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<u64, Box<dyn Error>> {
    let answer = read_frame(stream, buffer).await?.ok_or("closed")?;
    match answer.msg_type {
        FrameType::Ack => Ok(AckPayload::decode(&answer.payload)?.subscription_id),
        FrameType::Nack => {
            let nack = NackPayload::decode(&answer.payload)?;
            Err(format!("refused: code={} message={}", nack.code, nack.message).into())
        }
        other => Err(format!("unexpected answer: {other:?}").into()),
    }
}

/// Publishes and receives one message, and returns it with its delivery tag.
async fn publish_and_receive(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(PublishPayload, u64), Box<dyn Error>> {
    let mut buffer = BytesMut::with_capacity(4096);

    let hello = HelloPayload { protocol_version: PROTOCOL_VERSION }.encode();
    send(&mut stream, FrameType::Hello, 1, hello).await?;
    assert_eq!(accepted(&mut stream, &mut buffer).await?, 0);

    let auth = AuthPayload { api_key: "dev-key-1".to_string() }.encode()?;
    send(&mut stream, FrameType::Auth, 2, auth).await?;
    accepted(&mut stream, &mut buffer).await?;

    let subscribe = SubscribePayload { topic: "demo".to_string(), qos: 1 }.encode()?;
    send(&mut stream, FrameType::Subscribe, 3, subscribe).await?;
    let subscription_id = accepted(&mut stream, &mut buffer).await?;
    assert_ne!(subscription_id, 0);

    let message = b"hello from client".as_ref().into();
    let publish = PublishPayload { topic: "demo".to_string(), qos: 1, message }.encode()?;
    send(&mut stream, FrameType::Publish, 4, publish).await?;

    let poll = PollPayload { subscription_id }.encode()?;
    send(&mut stream, FrameType::Poll, 5, poll).await?;
    let delivery = read_frame(&mut stream, &mut buffer).await?.ok_or("closed")?;
    assert_eq!(delivery.msg_type, FrameType::Publish);
    let payload = PublishPayload::decode(&delivery.payload)?;

    let ack = AckPayload { subscription_id }.encode()?;
    send(&mut stream, FrameType::Ack, delivery.correlation_id, ack).await?;
    Ok((payload, delivery.correlation_id))
}

/// Answers each frame the way the server does, and returns the tag that was acknowledged.
async fn scripted_server(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<u64, Box<dyn Error>> {
    let mut buffer = BytesMut::new();
    let mut queued = None;
    while let Some(frame) = read_frame(&mut stream, &mut buffer).await? {
        let (id, ack) = (frame.correlation_id, |id| AckPayload { subscription_id: id }.encode());
        match frame.msg_type {
            FrameType::Hello | FrameType::Auth => {
                send(&mut stream, FrameType::Ack, id, ack(0)?).await?;
            }
            FrameType::Subscribe => send(&mut stream, FrameType::Ack, id, ack(42)?).await?,
            FrameType::Publish => queued = Some(frame.payload),
            FrameType::Poll => {
                let message = queued.take().ok_or("nothing was published")?;
                send(&mut stream, FrameType::Publish, 77, message).await?;
            }
            FrameType::Ack => return Ok(id),
            other => return Err(format!("unexpected frame: {other}").into()),
        }
    }
    Err("the client left".into())
}

#[tokio::test]
async fn a_client_publishes_polls_and_acknowledges() {
    let (near, far) = duplex(64);
    let (received, acked) = tokio::join!(publish_and_receive(near), scripted_server(far));
    let (payload, tag) = received.unwrap();
    assert_eq!(payload.topic, "demo");
    assert_eq!(payload.message, &b"hello from client"[..]);
    assert_eq!(acked.unwrap(), tag);
}
