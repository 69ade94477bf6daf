//! A list of URLs: one a line, blank lines and those that begin with `#` left out.

use std::io::{self, BufRead, Read};

use thiserror::Error;

use crate::host::{Target, UrlError};

/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// Most URLs of a list.
pub const URLS_MAX: usize = 1_000_000;
/// No more problems of a list are told.
const PROBLEMS_MAX: usize = 10;

/// A URL and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The line, from 1.
    pub line: u64,
    /// What is to be fetched.
    pub target: Target,
}

/// Why a list can't be used. The first problems are told with their lines, further ones counted.
#[derive(Debug, Error)]
pub enum ListError {
    /// It can't be read.
    #[error("line {line}: can't be read: {source}")]
    Io {
        /// The line after which it broke.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// Lines that are no URLs.
    #[error("{}", told(.0, *.1))]
    Lines(Vec<(u64, LineError)>, usize),
    /// There are too many.
    #[error("line {0}: there are more than {URLS_MAX} URLs")]
    TooMany(u64),
    /// There are none.
    #[error("there is no URL in it")]
    Empty,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// Its URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// It is no text.
    #[error("it is not UTF-8")]
    Text,
    /// It is too long.
    #[error("it is longer than {LINE_BYTES_MAX} bytes")]
    Length,
}

fn told(problems: &[(u64, LineError)], more: usize) -> String {
    let mut lines: Vec<String> =
        problems.iter().map(|(line, problem)| format!("line {line}: {problem}")).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

/// Reads a list to its end.
///
/// # Errors
/// It can't be read, lines of it are no URLs, or there is none or too many.
pub fn read(mut from: impl BufRead) -> Result<Vec<Listed>, ListError> {
    let (mut urls, mut problems, mut unsaid) = (Vec::new(), Vec::new(), 0);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let failed = |source| ListError::Io { line, source };
        let got = from.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes);
        if got.map_err(failed)? == 0 {
            break;
        }
        let whole = bytes.len() as u64 <= LINE_BYTES_MAX;
        if !whole && bytes.last() != Some(&b'\n') {
            from.skip_until(b'\n').map_err(failed)?;
        }
        match url(&bytes, line == 1, whole) {
            Ok(None) => {}
            Ok(Some(_)) if urls.len() == URLS_MAX => return Err(ListError::TooMany(line)),
            Ok(Some(target)) => urls.push(Listed { line, target }),
            Err(problem) if problems.len() < PROBLEMS_MAX => problems.push((line, problem)),
            Err(_) => unsaid += 1,
        }
    }
    match (problems.is_empty(), urls.is_empty()) {
        (false, _) => Err(ListError::Lines(problems, unsaid)),
        (true, true) => Err(ListError::Empty),
        (true, false) => Ok(urls),
    }
}

/// The URL of a line, if it has one.
fn url(line: &[u8], first: bool, whole: bool) -> Result<Option<Target>, LineError> {
    if !whole {
        return Err(LineError::Length);
    }
    let text = std::str::from_utf8(line).map_err(|_| LineError::Text)?;
    // Some editors begin a file with a mark of its encoding.
    let text = if first { text.trim_start_matches('\u{feff}') } else { text }.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    Ok(Some(Target::read(text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_and_comments_are_left_out_and_lines_keep_their_numbers() {
        let text =
            "\u{feff}# pages\r\n\r\nhttp://a.example/\r\n   \n  # more\n\thttp://b.example/#x ";
        let urls = read(text.as_bytes()).unwrap();
        let seen: Vec<(u64, &str)> =
            urls.iter().map(|listed| (listed.line, listed.target.url.as_str())).collect();
        assert_eq!(seen, [(3, "http://a.example/"), (6, "http://b.example/#x")]);
    }

    #[test]
    fn every_bad_line_is_told_with_its_number() {
        let long = "x".repeat(LINE_BYTES_MAX as usize + 5);
        let text =
            [b"nowhere\nhttp://a.example/\n\xff\n", long.as_bytes(), b"\nftp://b\n"].concat();
        let error = read(&text[..]).unwrap_err().to_string();
        let expected = [
            "line 1: \"nowhere\" is no URL: relative URL without a base; begin it with http:// or https://",
            "line 3: it is not UTF-8",
            "line 4: it is longer than 16384 bytes",
            "line 5: ftp:// can't be fetched, only http:// and https://",
        ];
        assert_eq!(error.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_list_without_urls_and_one_with_many_bad_lines_say_so() {
        assert!(matches!(read(&b"# none\n"[..]), Err(ListError::Empty)));
        let error = read("a\n".repeat(13).as_bytes()).unwrap_err().to_string();
        assert!(error.ends_with("\nand 3 more"), "{error}");
        // A line of exactly the greatest length is read.
        let line = format!("http://a/{}\n", "x".repeat(LINE_BYTES_MAX as usize - 10));
        assert_eq!(read(line.as_bytes()).unwrap().len(), 1);
    }
}
