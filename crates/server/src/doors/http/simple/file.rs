//! Files of bodies: a JSON array of texts in Base64, written and read within bounds.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use sluice_model::{Code, Refusal};

/// Longest name of a file.
const NAME_MAX: usize = 64;
/// So much is kept before it is written.
const KEPT_MAX: usize = 1 << 20;

/// Bounds of files and of what is in them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many files there may be.
    pub(super) files: usize,
    /// How long each may be.
    pub(super) file_bytes: u64,
    /// How many bodies one may have, to be read.
    pub(super) messages: usize,
    /// How many bytes of bodies, likewise.
    pub(super) bytes: u64,
    /// And the longest of them.
    pub(super) body: usize,
}

/// Checks that a name is one, and no way to another directory.
///
/// # Errors
/// `bad_request`.
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first =
        name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if first && name.len() <= NAME_MAX && name.bytes().all(good) {
        return Ok(());
    }
    let text =
        "file is a bare name: 1 to 64 letters, digits, _, . and -, not beginning with . or -";
    Err(Refusal::new(Code::BadRequest, text))
}

fn failed(action: &str, error: &io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::NotFound => Code::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::NoSpace,
        _ => Code::Internal,
    };
    Refusal::new(code, format!("could not {action} the snapshot: {error}"))
}

/// Writes a file beside the one that it replaces when it is whole.
pub(super) struct Writer {
    path: PathBuf,
    beside: PathBuf,
    file: File,
    kept: Vec<u8>,
    count: usize,
    written: u64,
    max: u64,
}

impl Writer {
    /// Begins a file, in a folder that is made if it is not there.
    pub(super) fn begin(path: PathBuf, bounds: Bounds) -> Result<Self, Refusal> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| failed("make the folder of", &error))?;
        let files = fs::read_dir(folder).map_err(|error| failed("look for", &error))?.count();
        if files >= bounds.files && !path.exists() {
            let text = format!("there are {files} snapshots already, as many as there may be");
            return Err(Refusal::new(Code::NoSpace, text));
        }
        // No name of a snapshot begins so, and one at a time is enough.
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let beside = path.with_file_name(format!(".{name}.new"));
        // What a crash has left.
        let _ = fs::remove_file(&beside);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Refusal::new(Code::Conflict, "it is being written"),
            _ => failed("make", &error),
        })?;
        let max = bounds.file_bytes;
        Ok(Self { path, beside, file, kept: b"[".to_vec(), count: 0, written: 0, max })
    }

    /// Appends a body.
    pub(super) fn push(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let separator: &[u8] = if self.count == 0 { b"\n\"" } else { b",\n\"" };
        self.kept.extend_from_slice(separator);
        self.kept.extend_from_slice(BASE64_STANDARD.encode(body).as_bytes());
        self.kept.push(b'"');
        self.count += 1;
        if self.written + self.kept.len() as u64 > self.max {
            let text = format!("the snapshot would be longer than {} bytes", self.max);
            return Err(Refusal::new(Code::TooLarge, text));
        }
        Ok(())
    }

    /// Whether it is time to write.
    pub(super) fn is_large(&self) -> bool {
        self.kept.len() >= KEPT_MAX
    }

    /// Writes what is kept.
    pub(super) fn write(mut self) -> Result<Self, Refusal> {
        self.file.write_all(&self.kept).map_err(|error| failed("write", &error))?;
        self.written += self.kept.len() as u64;
        self.kept.clear();
        Ok(self)
    }

    /// Makes it whole and safe, and returns how many bodies it has.
    pub(super) fn finish(mut self) -> Result<usize, Refusal> {
        self.kept.extend_from_slice(b"\n]\n");
        let writer = self.write()?;
        let folder = writer.path.parent().unwrap_or(Path::new("."));
        let synced = writer
            .file
            .sync_all()
            .and_then(|()| fs::rename(&writer.beside, &writer.path))
            .and_then(|()| File::open(folder)?.sync_all());
        synced.map_err(|error| failed("sync", &error))?;
        Ok(writer.count)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Gone already where it was finished.
        let _ = fs::remove_file(&self.beside);
    }
}

/// Reads a file, all of which is checked before anything comes of it.
pub(super) struct Reader {
    bounds: Bounds,
}

impl Reader {
    /// The bodies in the file, in their order.
    pub(super) fn read(path: &Path, bounds: Bounds) -> Result<Vec<Bytes>, Refusal> {
        let file = File::open(path).map_err(|error| failed("open", &error))?;
        let length = file.metadata().map_err(|error| failed("look at", &error))?.len();
        if length > bounds.file_bytes {
            let text = format!("the snapshot is longer than {} bytes", bounds.file_bytes);
            return Err(Refusal::new(Code::TooLarge, text));
        }
        let reader = BufReader::new(file.take(length));
        let mut reader = serde_json::Deserializer::from_reader(reader);
        let bodies = reader.deserialize_seq(Self { bounds });
        bodies.and_then(|bodies| reader.end().map(|()| bodies)).map_err(|error| {
            Refusal::new(Code::Invalid, format!("the snapshot is no array of bodies: {error}"))
        })
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Vec<Bytes>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of texts in Base64")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Bytes>, A::Error> {
        let Bounds { messages, bytes, body: longest, .. } = self.bounds;
        let (mut bodies, mut total) = (Vec::new(), 0);
        while let Some(text) = items.next_element::<String>()? {
            let at = bodies.len();
            let body = BASE64_STANDARD.decode(text);
            let body = body.map_err(|error| A::Error::custom(format!("message {at}: {error}")))?;
            total += body.len() as u64;
            if body.len() > longest {
                let text = format!("message {at} is longer than {longest} bytes");
                return Err(A::Error::custom(text));
            }
            if at == messages || total > bytes {
                let text = format!("the queue holds at most {messages} messages of {bytes} bytes");
                return Err(A::Error::custom(text));
            }
            bodies.push(Bytes::from(body));
        }
        Ok(bodies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { files: 2, file_bytes: 400, messages: 4, bytes: 40, body: 16 };

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["a", "_", "queue.json", "A-1_b.c", &"x".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "x".repeat(65);
        for bad in
            ["", ".", "..", ".x", "-x", "a/b", "../a", "/a", "a\\b", "a b", "a\0", "ä", &long]
        {
            assert_eq!(check_name(bad).unwrap_err().code, Code::BadRequest, "{bad:?}");
        }
    }

    #[test]
    fn bodies_come_back_as_they_were_written_and_half_a_file_never_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("queue.json");
        let mut writer = Writer::begin(path.clone(), BOUNDS).unwrap();
        for body in [&b"one"[..], b"", b"\xff\0"] {
            writer.push(body).unwrap();
            writer = writer.write().unwrap();
        }
        assert!(!path.exists());
        assert_eq!(writer.finish(), Ok(3));
        assert_eq!(Reader::read(&path, BOUNDS).unwrap(), [&b"one"[..], b"", b"\xff\0"]);
        drop(Writer::begin(path.clone(), BOUNDS).unwrap());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn files_are_bounded_in_number_and_length() {
        let folder = tempfile::tempdir().unwrap();
        let begin = |name: &str| Writer::begin(folder.path().join(name), BOUNDS);
        for name in ["a", "b"] {
            begin(name).unwrap().finish().unwrap();
        }
        assert_eq!(begin("c").err().map(|refusal| refusal.code), Some(Code::NoSpace));
        let mut again = begin("a").unwrap();
        assert_eq!(again.push(&[0; 400]).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let cases = [
            ("", "no array"),
            ("{}", "no array"),
            ("[1]", "no array"),
            ("[\"a\"]", "message 0"),
            ("[\"YQ==\"] x", "trailing"),
            ("[\"YQ==\"", "EOF"),
            ("[\"YQ==\",\"YQ==\",\"YQ==\",\"YQ==\",\"YQ==\"]", "at most 4 messages"),
            ("[\"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYQ==\"]", "message 0 is longer than 16"),
        ];
        for (text, expected) in cases {
            fs::write(&path, text).unwrap();
            let refusal = Reader::read(&path, BOUNDS).unwrap_err();
            assert!(refusal.message.contains(expected), "{text}: {}", refusal.message);
        }
        assert_eq!(
            Reader::read(&folder.path().join("none"), BOUNDS).unwrap_err().code,
            Code::NotFound
        );
    }
}
