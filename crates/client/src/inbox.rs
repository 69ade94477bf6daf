//! What the connection's task has pushed to a handle, and the credit that is given back for it.

use std::vec;

use tokio::sync::mpsc;

use crate::client::Client;
use crate::core::Core;
use crate::core::sink::{Frame, Push};
use crate::error::Error;

/// The handle's end: things in the order in which they came, frame by frame.
pub(crate) struct Inbox<T> {
    client: Client,
    /// Of the consumer.
    key: u64,
    from: mpsc::UnboundedReceiver<Push<T>>,
    batch: vec::IntoIter<T>,
    /// Things of the batch, whose credit is due when it is handed out.
    due: Option<(u64, u32)>,
}

impl<T> Inbox<T> {
    pub(crate) fn new(client: Client, key: u64, from: mpsc::UnboundedReceiver<Push<T>>) -> Self {
        Self { client, key, from, batch: Vec::new().into_iter(), due: None }
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// The next one. None when the client was closed.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(next) = self.batch.next() {
                return Ok(Some(next));
            }
            self.give_credit();
            match self.from.recv().await {
                Some(Ok(frame)) => self.begin(frame),
                Some(Err(Error::Closed)) | None => return Ok(None),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// The next one, if it has come already.
    pub(crate) fn try_next(&mut self) -> Option<T> {
        loop {
            if let Some(next) = self.batch.next() {
                return Some(next);
            }
            self.give_credit();
            match self.from.try_recv() {
                Ok(Ok(frame)) => self.begin(frame),
                Ok(Err(_)) | Err(_) => return None,
            }
        }
    }

    /// Takes the consumer away; what came and was not handed out goes through `give_back`.
    pub(crate) fn end(&mut self, give_back: impl FnOnce(&mut Core, Vec<T>)) {
        self.from.close();
        let mut back: Vec<T> = self.batch.by_ref().collect();
        while let Ok(Ok(frame)) = self.from.try_recv() {
            back.extend(frame.things);
        }
        self.client.shared().change(|core| {
            give_back(core, back);
            core.consumers.remove(self.key);
        });
    }

    fn begin(&mut self, Frame { epoch, is_settled, things }: Frame<T>) {
        let count = things.len() as u32;
        self.due = is_settled.then_some((epoch, count));
        self.batch = things.into_iter();
        let shared = self.client.shared();
        if shared.core().looked_at(epoch, self.key, count) {
            shared.change(|_| ());
        }
    }

    fn give_credit(&mut self) {
        if let Some((epoch, count)) = self.due.take() {
            self.client.shared().change(|core| core.owe(epoch, Some(self.key), count));
        }
    }
}
