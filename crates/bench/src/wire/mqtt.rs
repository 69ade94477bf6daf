//! MQTT 3.1.1 at QoS 0.

use super::{Parsed, unexpected};

/// A packet as it arrived.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Type and flags.
    pub head: u8,
    /// What follows its length.
    pub body: &'a [u8],
}

/// CONNACK.
pub const CONNACK: u8 = 0x20;
/// SUBACK.
pub const SUBACK: u8 = 0x90;
/// PUBLISH at QoS 0, neither repeated nor retained.
pub const PUBLISH: u8 = 0x30;

/// What stands at the front.
///
/// # Errors
/// Its length has more than four bytes.
pub fn packet(input: &[u8]) -> Parsed<Packet<'_>> {
    let Some((head, rest)) = input.split_first() else { return Ok(None) };
    let mut bytes = 0;
    for at in 0..4 {
        let Some(digit) = rest.get(at) else { return Ok(None) };
        bytes |= usize::from(digit & 0x7f) << (7 * at);
        if digit & 0x80 == 0 {
            let (start, end) = (at + 2, at + 2 + bytes);
            let body = input.get(start..end);
            return Ok(body.map(|body| (Packet { head: *head, body }, end)));
        }
    }
    Err(unexpected("no length of MQTT", input))
}

impl<'a> Packet<'a> {
    /// Topic and message of a PUBLISH at QoS 0.
    pub fn published(&self) -> Option<(&'a [u8], &'a [u8])> {
        let (length, rest) = self.body.split_first_chunk()?;
        let message = rest.split_at_checked(u16::from_be_bytes(*length).into());
        message.filter(|_| self.head == PUBLISH)
    }
}

/// Adds a packet.
fn add(out: &mut Vec<u8>, head: u8, body: &[&[u8]]) {
    out.push(head);
    let mut bytes: usize = body.iter().map(|part| part.len()).sum();
    loop {
        let digit = (bytes & 0x7f) as u8;
        bytes >>= 7;
        if bytes == 0 {
            out.push(digit);
            break;
        }
        out.push(digit | 0x80);
    }
    for part in body {
        out.extend_from_slice(part);
    }
}

/// Adds a CONNECT: a clean session, no keep-alive.
pub fn connect(out: &mut Vec<u8>, id: &str) {
    let head = b"\0\x04MQTT\x04\x02\0\0";
    add(out, 0x10, &[head, &(id.len() as u16).to_be_bytes(), id.as_bytes()]);
}

/// Adds a SUBSCRIBE at QoS 0.
pub fn subscribe(out: &mut Vec<u8>, topic: &str) {
    let length = (topic.len() as u16).to_be_bytes();
    add(out, 0x82, &[&[0, 1], &length, topic.as_bytes(), &[0]]);
}

/// Adds a PUBLISH at QoS 0.
pub fn publish(out: &mut Vec<u8>, topic: &str, message: &[u8]) {
    let length = (topic.len() as u16).to_be_bytes();
    add(out, PUBLISH, &[&length, topic.as_bytes(), message]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_arrives_at_every_length() {
        for length in [0, 1, 122, 123, 127, 128, 16_383, 16_384, 100_000] {
            let message = vec![7; length];
            let mut out = Vec::new();
            publish(&mut out, "abc", &message);
            for end in [0, 1, 2, out.len() - 1] {
                assert_eq!(packet(&out[..end]).unwrap(), None, "{end} of {length}");
            }
            let (found, bytes) = packet(&out).unwrap().unwrap();
            assert_eq!(bytes, out.len());
            assert_eq!(found.published(), Some((&b"abc"[..], &message[..])));
        }
    }

    #[test]
    fn a_client_introduces_itself_as_the_standard_says() {
        let mut out = Vec::new();
        connect(&mut out, "c1");
        assert_eq!(out, b"\x10\x0e\0\x04MQTT\x04\x02\0\0\0\x02c1");
        out.clear();
        subscribe(&mut out, "t");
        assert_eq!(out, b"\x82\x06\0\x01\0\x01t\0");
    }

    #[test]
    fn a_length_ends_after_four_bytes() {
        assert!(packet(&[PUBLISH, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
        let short = Packet { head: PUBLISH, body: &[0, 9, b'x'] };
        assert_eq!(short.published(), None);
    }
}
