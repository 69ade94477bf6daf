//! What must hold for any line, for tests and for the fuzz targets.

use bytes::Bytes;
use sluice_protocol::line::{self, Ask, Form};

/// Reads a line in every way, and sees that what is said to it is one line in its form.
pub(crate) fn exercise(bytes: &[u8]) {
    let asked = line::read(bytes);
    assert_eq!(line::read_shared(&Bytes::copy_from_slice(bytes)), asked);
    let said = match &asked.ask {
        Err(refusal) => asked.form.refused(refusal),
        Ok(Ask::Echo(text)) => {
            assert!(bytes.ends_with(text));
            return;
        }
        Ok(_) => asked.form.word(line::OK),
    };
    assert!(!said.contains('\n'), "{said:?}");
    match asked.form {
        Form::Text => assert!(!said.starts_with(['*', '{']) && !said.contains(char::is_control)),
        Form::Json { id } => {
            assert!(said.starts_with('{') && said.ends_with('}'), "{said}");
            assert!(id.is_none_or(|id| said.contains(&*id)), "{said}");
        }
    }
}
