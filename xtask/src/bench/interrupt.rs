//! An end by SIGINT, SIGTERM or SIGHUP leaves no data behind. Children end with this process.

use std::path::Path;
use std::thread;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

/// How often a folder is removed into which somebody still writes.
const TRIES: usize = 10;

/// Has such a signal remove `folder` and end this process, from now on.
pub(crate) fn watch(folder: &Path) -> anyhow::Result<()> {
    let folder = folder.to_owned();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let guard = runtime.enter();
    let [mut interrupt, mut terminate, mut hang_up] =
        [signal(kinds[0])?, signal(kinds[1])?, signal(kinds[2])?];
    drop(guard);
    thread::spawn(move || {
        let kind = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => kinds[0],
                _ = terminate.recv() => kinds[1],
                _ = hang_up.recv() => kinds[2],
            }
        });
        remove(&folder);
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}

fn remove(folder: &Path) {
    for _ in 0..TRIES {
        if std::fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
    }
}
