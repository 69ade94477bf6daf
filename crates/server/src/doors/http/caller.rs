//! Who asks, and the way to the broker that its handler has.

use std::convert::Infallible;
use std::sync::Arc;

use axum::BoxError;
use axum::extract::FromRequestParts;
use bytes::Bytes;
use hyper::http::request::Parts;
use sluice_model::{
    Action, Answer, Command, Delivery, Principal, QueueRequest, Receive, Refusal, Resource,
};

use super::body;
use super::exchange::{Exchange, Received};
use crate::admission::client_of;
use crate::auth::KeyRing;
use crate::doors::{Notices, Peer, Shared};

/// Who asks. Put on a request before its handler runs.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) shared: Arc<Shared>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) principal: Principal,
    pub(super) peer: Peer,
    pub(super) notices: Arc<Notices>,
    /// For who makes and revokes keys.
    pub(super) ring: Arc<KeyRing>,
}

impl Caller {
    /// Reads a body that may be so long. One that drips keeps nobody else from being served.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) async fn read<B>(&self, body: B, max: usize) -> Result<Bytes, Refusal>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        self.exchange.parked(body::read(body, max)).await?
    }

    /// Asks the broker something that has one answer, now, and gives the answer to wait for.
    ///
    /// # Errors
    /// It was refused.
    pub(super) fn ask(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send + '_ {
        let asked = self.exchange.act_for(&self.principal).map(|()| self.exchange.ask(command));
        async move { asked?.await }
    }

    /// Asks for something about queues.
    ///
    /// # Errors
    /// It was refused.
    pub(super) async fn ask_queue(&self, request: QueueRequest) -> Result<Answer, Refusal> {
        self.ask(Command::Queue(Box::new(request))).await
    }

    /// Takes messages.
    ///
    /// # Errors
    /// It was refused.
    pub(super) async fn receive(&self, receive: Receive) -> Result<Received, Refusal> {
        self.exchange.act_for(&self.principal)?;
        self.exchange.receive(receive, &self.notices).await
    }

    /// Counts what a request has beside its first item, which was counted when it was let in.
    ///
    /// # Errors
    /// A limit refuses it.
    pub(super) fn count(&self, more: usize) -> Result<(), Refusal> {
        let Shared { intake, counters, .. } = &*self.shared;
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        intake.count(&client_of(&self.principal, self.peer.ip), more, counters)
    }

    /// Acknowledges a delivery once the kernel has the answer that carries it.
    pub(super) fn ack_when_written(&self, delivery: &Delivery) {
        if let Some(lease) = delivery.lease {
            self.exchange.ack_when_written(lease);
        }
    }

    /// The same caller with a session of its own, for work whose answers nobody is sent. Who uses
    /// it says [`Exchange::done`] after each step.
    pub(super) fn aside(&self) -> Self {
        let exchange = Exchange::new(Arc::clone(&self.shared), self.peer);
        Self { exchange: Arc::new(exchange), ..self.clone() }
    }

    /// Whether the caller may do what no request to the broker asks for.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn may(&self, action: Action, resource: Resource<'_>) -> Result<(), Refusal> {
        self.shared.broker.authorize(&self.principal, action, resource)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let caller = parts.extensions.get::<Self>().cloned();
        Ok(caller.expect("the door puts the caller on every request before it is routed"))
    }
}
