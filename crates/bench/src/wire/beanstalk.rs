//! The protocol of beanstalkd.

use std::io::Write;

use super::{Parsed, body, decimal, line, unexpected};

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To a put: the job's number.
    Inserted(u64),
    /// To a reserve: a job.
    Reserved {
        /// Its number.
        id: u64,
        /// Its bytes.
        job: &'a [u8],
    },
    /// To a delete.
    Deleted,
    /// To a reserve: there is none.
    TimedOut,
}

/// What stands at the front.
///
/// # Errors
/// It is a refusal, or nothing that the server may say.
pub fn answer(input: &[u8]) -> Parsed<Answer<'_>> {
    let Some((text, at)) = line(input) else { return Ok(None) };
    let wrong = || unexpected("beanstalkd says", text);
    if let Some(id) = text.strip_prefix(b"INSERTED ") {
        let id = decimal::parse(id).ok_or_else(wrong)?;
        return Ok(Some((Answer::Inserted(id), at)));
    }
    if let Some(rest) = text.strip_prefix(b"RESERVED ") {
        let mut words = rest.splitn(2, |byte| *byte == b' ').map(decimal::parse);
        let (Some(Some(id)), Some(Some(bytes))) = (words.next(), words.next()) else {
            return Err(wrong());
        };
        let found = body(input, at, bytes as usize);
        return Ok(found.map(|(job, end)| (Answer::Reserved { id, job }, end)));
    }
    match text {
        b"DELETED" => Ok(Some((Answer::Deleted, at))),
        b"TIMED_OUT" => Ok(Some((Answer::TimedOut, at))),
        _ => Err(wrong()),
    }
}

/// Adds a put with ten minutes to run.
pub fn put(out: &mut Vec<u8>, job: &[u8]) {
    // Writing to a vector can't fail.
    let _ = write!(out, "put 0 0 600 {}\r\n", job.len());
    out.extend_from_slice(job);
    out.extend_from_slice(b"\r\n");
}

/// Adds a reserve that does not wait.
pub fn reserve(out: &mut Vec<u8>) {
    out.extend_from_slice(b"reserve-with-timeout 0\r\n");
}

/// Adds a delete.
pub fn delete(out: &mut Vec<u8>, id: u64) {
    let _ = write!(out, "delete {id}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_follow_one_another() {
        let mut input: &[u8] = b"INSERTED 9\r\nRESERVED 9 4\r\na\r\nb\r\nDELETED\r\nTIMED_OUT\r\n";
        let mut found = Vec::new();
        while let Some((one, bytes)) = answer(input).unwrap() {
            found.push(one);
            input = &input[bytes..];
        }
        let reserved = Answer::Reserved { id: 9, job: b"a\r\nb" };
        assert_eq!(found, [Answer::Inserted(9), reserved, Answer::Deleted, Answer::TimedOut]);
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_cut_is_not_there_yet() {
        let input = b"RESERVED 1 3\r\nabc\r\n";
        for end in 0..input.len() {
            assert_eq!(answer(&input[..end]).unwrap(), None, "{end}");
        }
    }

    #[test]
    fn refusals_are_errors() {
        for text in ["OUT_OF_MEMORY\r\n", "INSERTED x\r\n", "RESERVED 1\r\n", "RESERVED 1 x\r\n"] {
            assert!(answer(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn commands_are_lines() {
        let mut out = Vec::new();
        put(&mut out, b"job");
        reserve(&mut out);
        delete(&mut out, 7);
        assert_eq!(out, b"put 0 0 600 3\r\njob\r\nreserve-with-timeout 0\r\ndelete 7\r\n");
    }
}
