//! Watches: what happens to keys, pushed, as much as there is credit for.

use std::time::Duration;

use sluice_model::{Keys, Revision, WatchEvent};
use tokio::sync::{mpsc, oneshot};

use crate::client::Client;
use crate::core::consumers::{Spec, Wanted};
use crate::core::sink::Sink;
use crate::error::Error;
use crate::inbox::Inbox;

/// How keys are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchKeys {
    /// What happened from this revision on comes first; none for from now on.
    pub from: Option<Revision>,
    /// Most changes that are on their way or not looked at; 1 to 1 000 000.
    pub prefetch: u32,
}

impl Default for WatchKeys {
    fn default() -> Self {
        Self { from: None, prefetch: 256 }
    }
}

/// Changes of keys as they are pushed, in the order of their revisions.
///
/// After a lost connection it goes on by itself behind the last change that came. If the broker no
/// longer knows what follows that one, it ends with `gone`: read the keys, and watch anew.
pub struct Watch(Inbox<WatchEvent>);

impl Client {
    /// Has pushed what happens to keys. Unlike [`Client::key_changes`] nothing is asked for again
    /// and again, and nothing but changes is sent.
    ///
    /// ```no_run
    /// # async fn example(client: sluice_client::Client) -> Result<(), sluice_client::Error> {
    /// use sluice_client::{Keys, WatchEvent, WatchKeys};
    ///
    /// let all = Keys::below("users^").expect("it is a prefix");
    /// let mut watch = client.watch_keys(&all, WatchKeys::default()).await?;
    /// while let Some(event) = watch.next().await? {
    ///     if let WatchEvent::Put(entry) = event {
    ///         println!("{} is {:?}", entry.key, entry.value.bytes);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The broker refuses (`gone` if the revision to begin at is no longer known), or does not
    /// answer within the time for requests.
    pub async fn watch_keys(&self, keys: &Keys, watch: WatchKeys) -> Result<Watch, Error> {
        self.retried(Duration::ZERO, || self.watch_once(keys, watch)).await
    }

    async fn watch_once(&self, keys: &Keys, watch: WatchKeys) -> Result<Watch, Error> {
        let (to, from) = mpsc::unbounded_channel();
        let (ready, heard) = oneshot::channel();
        let wanted = Wanted::Keys { keys: keys.clone(), from: watch.from };
        let (prefetch, to) = (watch.prefetch, Sink::Changes(to));
        let spec = Spec { wanted, prefetch, lease_ms: 0, to, ready };
        let key = self.shared().change(|core| core.consume(spec))?;
        // Dropped on the way, it is taken back.
        let watch = Watch(Inbox::new(self.clone(), key, from));
        heard.await.unwrap_or(Err(Error::Closed))?;
        Ok(watch)
    }
}

impl Watch {
    /// The next change, or that some are missing. None when the client was closed.
    ///
    /// # Errors
    /// The broker took the watch away, no longer knows what follows what came before the connection
    /// was lost, or the connection was lost for good; nothing comes after that.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, Error> {
        self.0.next().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.end(|_, _| ());
    }
}
