//! SIGHUP: settings, keys and certificate are read again, one after the other.
//!
//! ```text
//! SIGHUP --> supervisor: reloading --> settings --> keys --> certificate --> supervisor: ready
//! ```
//!
//! What can't be read changes nothing and is logged; the others are read all the same.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use sluice_server::{Certificates, KeyRing};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::keys;
use crate::notify::Notifier;
use crate::own_limits::OwnLimits;
use crate::reload::Reload;

/// What of the doors can be replaced.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) ring: KeyRing,
    pub(crate) keys_path: Option<PathBuf>,
    pub(crate) certificates: Certificates,
    pub(crate) own_limits: OwnLimits,
}

/// Hears SIGHUP.
#[derive(Clone, Default)]
pub(crate) struct Hangup(Arc<OnceLock<Doors>>);

impl Hangup {
    /// Reloads at every SIGHUP, from before the log is opened: until somebody listens for it, the
    /// signal ends the process.
    pub(crate) fn listen(
        runtime: &Runtime,
        mut reload: Reload,
        notifier: Arc<Notifier>,
    ) -> Result<Self, Failure> {
        let _entered = runtime.enter();
        let mut signals = signal(SignalKind::hangup()).map_err(Failure::other)?;
        let this = Self::default();
        let doors = Arc::clone(&this.0);
        runtime.spawn(async move {
            while signals.recv().await.is_some() {
                let (doors, notifier) = (doors.get().cloned(), Arc::clone(&notifier));
                // A slow disk must not keep a worker from its connections.
                let read = tokio::task::spawn_blocking(move || {
                    run(&mut reload, doors.as_ref(), &notifier);
                    reload
                });
                match read.await {
                    Ok(back) => reload = back,
                    Err(error) => {
                        return tracing::error!("settings are reloaded no more: {error}");
                    }
                }
            }
        });
        Ok(this)
    }

    /// From now on the doors' parts are reloaded as well.
    pub(crate) fn open(&self, doors: Doors) {
        // There is one server.
        let _ = self.0.set(doors);
    }
}

fn run(reload: &mut Reload, doors: Option<&Doors>, notifier: &Notifier) {
    let Some(doors) = doors else { return reload.run(None) };
    notifier.reloading();
    reload.run(Some(&doors.own_limits));
    if let Err(error) = doors.reload_keys() {
        tracing::error!(%error, "the keys could not be reloaded, those before stay in force");
    }
    if let Err(error) = doors.certificates.reload() {
        tracing::error!(
            %error,
            "the certificate could not be reloaded, the one before stays in force"
        );
    }
    notifier.ready();
}

impl Doors {
    /// Reads the key file again. One that is gone or damaged changes nothing.
    fn reload_keys(&self) -> Result<(), String> {
        let Some(path) = &self.keys_path else { return Ok(()) };
        match keys::load(path) {
            Ok(Some(keys)) => self.ring.replace(keys).map_err(|error| error.to_string()),
            Ok(None) => Err(format!("there is no file {}", path.display())),
            Err(error) => Err(error.to_string()),
        }
    }
}
