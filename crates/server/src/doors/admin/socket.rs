//! The socket of the admin door, and who is let in.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::connection;
use crate::doors::{Notices, Shared};

/// Connections at once; further ones are closed.
const CONNECTIONS_MAX: usize = 8;
/// The pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The longest path that fits a socket's address, from `unix(7)`, its end counted.
const PATH_MAX: usize = 108;

/// The path of a socket in a form that fits a socket's address, however long it is.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    /// Keeps the short form good.
    _folder: Option<File>,
}

impl SocketPath {
    /// The form for `path`. It is good while this lives.
    ///
    /// # Errors
    /// The folder can't be opened.
    pub fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() < PATH_MAX {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let folder = File::open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    /// The path to bind or to connect to.
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

/// A socket that goes with its listener.
pub(crate) struct AdminListener {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        // The next start takes away what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens the socket, in a directory that the caller has for itself: what an earlier process left
/// there is in nobody's use.
pub(crate) fn bind(path: &Path) -> io::Result<AdminListener> {
    match fs::symlink_metadata(path) {
        Ok(left) if left.file_type().is_socket() => fs::remove_file(path)?,
        // Anything else is somebody's: binding refuses.
        _ => {}
    }
    let short = SocketPath::new(path)?;
    let listener = UnixListener::bind(short.as_path())?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(AdminListener { listener, path: path.to_owned() })
}

/// Accepts until the server drains. `backups` is where backups go.
pub(crate) async fn serve(
    admin: AdminListener,
    backups: PathBuf,
    shared: Arc<Shared>,
    mut notices: Notices,
) {
    let backups: Arc<Path> = backups.into();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = admin.listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = notices.drain() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "accept at the admin socket failed, trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        shared.counters.admin_connections.one();
        if connections.len() >= CONNECTIONS_MAX || !is_owner(&stream) {
            shared.counters.rejected_admin.one();
            continue;
        }
        let (shared, backups, notices) =
            (Arc::clone(&shared), Arc::clone(&backups), notices.clone());
        connections.spawn(async move {
            if let Err(error) = connection::serve(stream, &shared, &backups, notices).await {
                debug!(%error, "admin connection broke");
            }
        });
    }
    while connections.join_next().await.is_some() {}
}

/// Whether the peer is the user that the broker runs as, or root. The mode of socket and directory
/// says the same; a directory that somebody opened up must not be enough.
fn is_owner(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
