//! Drives one connection of the admin door.

use std::io;
use std::path::Path;
use std::time::Duration;

use sluice_model::{Code, Refusal};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::request::{answer, refused};
use crate::doors::{Notices, Shared};
use crate::requests::{DoorName, Outcome};

/// The longest request, its end not counted.
const LINE_MAX: usize = 4 << 10;
/// How long a client may be silent, or take no answer.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Serves a client until it leaves, is silent for too long, says too much, or the server drains.
pub(super) async fn serve(
    mut stream: UnixStream,
    shared: &Shared,
    backups: &Path,
    mut notices: Notices,
) -> io::Result<()> {
    let _open = shared.requests.connection(DoorName::Admin);
    let (reading, mut writing) = stream.split();
    let mut reading = BufReader::new(reading);
    let mut line = Vec::new();
    loop {
        line.clear();
        // One byte more than allowed shows that it is too long; and one for the end.
        let mut bounded = (&mut reading).take(LINE_MAX as u64 + 2);
        let read = tokio::select! {
            read = timeout(SILENCE_MAX, bounded.read_until(b'\n', &mut line)) => read,
            () = notices.drain() => return Ok(()),
        };
        // Silence for too long ends it as the client's own end does.
        if read.unwrap_or(Ok(0))? == 0 {
            return Ok(());
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let too_long = text.len() > LINE_MAX;
        shared.counters.admin_requests.one();
        let (mut answer, is_refusal) = match too_long {
            true => (refused(&Refusal::new(Code::TooLarge, "the request is too long")), true),
            false => answer(&shared.broker, backups, text),
        };
        let refusal = is_refusal.then_some(Outcome::Error);
        shared.requests.one(DoorName::Admin, refusal);
        if is_refusal {
            shared.counters.admin_refusals.one();
        }
        answer.push('\n');
        match timeout(SILENCE_MAX, writing.write_all(answer.as_bytes())).await {
            Ok(written) => written?,
            Err(_) => return Ok(()),
        }
        if too_long {
            return Ok(());
        }
    }
}
