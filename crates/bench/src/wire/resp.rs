//! RESP, the protocol of Redis, one token at a time: an array is its length and then its items.

use std::io::{self, Write};

use super::{Conn, Parsed, body, decimal, line, unexpected};

/// A value, or the beginning of an array.
#[derive(Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// `+OK`
    Simple(&'a [u8]),
    /// `:1`
    Integer(u64),
    /// `$2 ab`
    Bulk(&'a [u8]),
    /// `*2`
    Array(usize),
    /// `$-1` or `*-1`
    Nil,
}

/// What stands at the front.
///
/// # Errors
/// It is an error that the server reports, or no RESP.
pub fn token(input: &[u8]) -> Parsed<Token<'_>> {
    let Some((text, at)) = line(input) else { return Ok(None) };
    let wrong = || unexpected("Redis says", text);
    let (kind, rest) = text.split_first().ok_or_else(wrong)?;
    let number = || decimal::parse(rest).ok_or_else(wrong);
    let found = match kind {
        b'+' => Token::Simple(rest),
        b':' => Token::Integer(number()?),
        b'$' | b'*' if rest == b"-1" => Token::Nil,
        b'*' => Token::Array(number()? as usize),
        b'$' => {
            let Some((all, end)) = body(input, at, number()? as usize) else { return Ok(None) };
            return Ok(Some((Token::Bulk(all), end)));
        }
        _ => return Err(wrong()),
    };
    Ok(Some((found, at)))
}

/// Waits for the next token and takes it as a number of some kind: an integer, an array's length,
/// or none for nil.
///
/// # Errors
/// The connection failed, or it is another token.
pub fn count(conn: &mut Conn) -> io::Result<Option<u64>> {
    conn.next(|input| {
        let Some((found, bytes)) = token(input)? else { return Ok(None) };
        match found {
            Token::Integer(count) => Ok(Some((Some(count), bytes))),
            Token::Array(count) => Ok(Some((Some(count as u64), bytes))),
            Token::Nil => Ok(Some((None, bytes))),
            _ => Err(unexpected("no number", input)),
        }
    })
}

/// Waits for the next token, which is a bulk, and has `look` see it.
///
/// # Errors
/// The connection failed, or it is another token.
pub fn bulk<T>(conn: &mut Conn, mut look: impl FnMut(&[u8]) -> T) -> io::Result<T> {
    conn.next(|input| match token(input)? {
        Some((Token::Bulk(bytes), end)) => Ok(Some((look(bytes), end))),
        Some(_) => Err(unexpected("no bulk", input)),
        None => Ok(None),
    })
}

/// Adds a command.
pub fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    start(out, words.len());
    for word in words {
        add(out, word);
    }
}

/// Adds the beginning of a command of so many words.
pub fn start(out: &mut Vec<u8>, words: usize) {
    // Writing to a vector can't fail.
    let _ = write!(out, "*{words}\r\n");
}

/// Adds a word.
pub fn add(out: &mut Vec<u8>, word: &[u8]) {
    let _ = write!(out, "${}\r\n", word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_follow_one_another() {
        let mut input: &[u8] = b"+OK\r\n:12\r\n*2\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*-1\r\n";
        let mut found = Vec::new();
        while let Some((one, bytes)) = token(input).unwrap() {
            found.push(one);
            input = &input[bytes..];
        }
        let expected = [
            Token::Simple(b"OK"),
            Token::Integer(12),
            Token::Array(2),
            Token::Bulk(b"a\r\n"),
            Token::Bulk(b""),
            Token::Nil,
            Token::Nil,
        ];
        // `$3 a CRLF` takes its own CRLF as body.
        assert_eq!(found[..4], expected[..4]);
        assert_eq!(found.len(), expected.len());
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_cut_is_not_there_yet() {
        let input = b"$5\r\nhello\r\n";
        for end in 0..input.len() {
            assert_eq!(token(&input[..end]).unwrap(), None, "{end}");
        }
    }

    #[test]
    fn errors_and_noise_are_errors() {
        for text in ["-ERR no\r\n", "hello\r\n", "$x\r\n", ":-\r\n", "\r\n"] {
            assert!(token(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_is_an_array_of_bulks() {
        let mut out = Vec::new();
        command(&mut out, &[b"LPOP", b"q"]);
        assert_eq!(out, b"*2\r\n$4\r\nLPOP\r\n$1\r\nq\r\n");
    }
}
