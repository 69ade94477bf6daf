//! Tokens: leases that are bound to no connection, as text.

use std::fmt;
use std::str::FromStr;

use sluice_model::{Generation, LeaseId, QueueNo, Seq};
use thiserror::Error;

/// A lease that any connection may settle, written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub LeaseId);

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a token has 64 hexadecimal digits")]
pub struct TokenError;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeaseId { queue, seq, generation, secret } = self.0;
        let Generation { start, counter } = generation;
        write!(f, "{:08x}{:016x}{start:08x}{counter:016x}{secret:016x}", queue.0, seq.0)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut rest = text;
        let lease = LeaseId {
            queue: QueueNo(short(&mut rest)?),
            seq: Seq(long(&mut rest)?),
            generation: Generation { start: short(&mut rest)?, counter: long(&mut rest)? },
            secret: long(&mut rest)?,
        };
        if rest.is_empty() { Ok(Self(lease)) } else { Err(TokenError) }
    }
}

fn short(rest: &mut &str) -> Result<u32, TokenError> {
    u32::from_str_radix(front(rest, 8)?, 16).map_err(|_| TokenError)
}

fn long(rest: &mut &str) -> Result<u64, TokenError> {
    u64::from_str_radix(front(rest, 16)?, 16).map_err(|_| TokenError)
}

fn front<'a>(rest: &mut &'a str, digits: usize) -> Result<&'a str, TokenError> {
    let (front, after) = rest.split_at_checked(digits).ok_or(TokenError)?;
    *rest = after;
    // A sign would be read too.
    if front.bytes().all(|byte| byte.is_ascii_hexdigit()) { Ok(front) } else { Err(TokenError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_as_it_is_written_and_nothing_else_does() {
        let generation = Generation { start: 3, counter: u64::MAX };
        let token =
            Token(LeaseId { queue: QueueNo(1), seq: Seq(2), generation, secret: 0xfedc_ba98 });
        let text = token.to_string();
        assert_eq!((text.len(), text.parse()), (64, Ok(token)));
        let signed = text.replacen('0', "+", 1);
        for bad in ["", "00", &text[1..], &format!("{text}0"), &signed, &"ä".repeat(32)] {
            assert_eq!(bad.parse::<Token>(), Err(TokenError), "{bad}");
        }
    }
}
