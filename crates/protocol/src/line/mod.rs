//! The line door: what `nc` can speak. A line is text, or JSON if it begins with `{`.
//!
//! Both forms are read into one [`Ask`], and answers are told in the form of the request.
//! `docs/protocol/line.md` describes it, word by word.
//!
//! ```
//! use sluice_protocol::line::{self, Ask, Form};
//!
//! let line::Asked { form, ask } = line::read(b"ECHO two words");
//! assert_eq!((form, ask), (Form::Text, Ok(Ask::Echo("two words".into()))));
//!
//! let line::Asked { form, ask } = line::read(br#"{"action": "GET", "kye": "motd", "id": 7}"#);
//! let refusal = ask.unwrap_err();
//! assert_eq!(refusal.message, r#"there is no field "kye"; did you mean key?"#);
//! assert!(form.refused(&refusal).ends_with(r#""id":7}"#));
//! ```

mod ask;
mod form;
mod json;
mod keys;
mod limits;
mod lines;
mod object;
mod shown;
mod text;

use std::str;

use bytes::Bytes;
use sluice_model::{Code, Refusal};

pub use ask::{Ask, Secret, WAIT_MAX, Want};
pub use form::{BYE, Form, OK, PONG, Said};
pub use json::actions;
pub use lines::{Line, LineDecoder, looks_like_http};
pub use shown::{Event, is_showable};
pub use text::{help, words};

/// A line that was understood as far as could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How it is answered.
    pub form: Form,
    /// What it asks, or what is wrong with it.
    pub ask: Result<Ask, Refusal>,
}

/// Reads a line without its end.
pub fn read(line: &[u8]) -> Asked {
    read_from(line, None)
}

/// The same of a line whose bytes may be held on to: a value that text sets is a part of it.
pub fn read_shared(line: &Bytes) -> Asked {
    read_from(line, Some(line))
}

fn read_from(line: &[u8], shared: Option<&Bytes>) -> Asked {
    let is_json = line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let Ok(text) = str::from_utf8(line) else {
        let form = if is_json { Form::Json { id: None } } else { Form::Text };
        return Asked { form, ask: Err(Refusal::new(Code::BadRequest, "invalid UTF-8")) };
    };
    match is_json {
        true => json::read(text),
        false => Asked { form: Form::Text, ask: text::read(text, shared) },
    }
}

/// What is said to a line that is longer than the door takes, of which this is the beginning.
pub fn too_long(begin: &[u8]) -> (Form, Refusal) {
    let is_json = begin.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let form = if is_json { Form::Json { id: None } } else { Form::Text };
    (form, Refusal::new(Code::TooLarge, "line too long"))
}

/// A payload as it was handed in by text.
fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
