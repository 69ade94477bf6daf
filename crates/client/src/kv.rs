//! Keys and values.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};
use sluice_model::{Condition, Key, Keys, Value, ValueKind};
use sluice_protocol::json::{
    Incremented, KV_CHANGES, KeyChanges, KeyEntry, KeyPage, KeyThere, KeyWritten,
};

use crate::client::Client;
use crate::core::requests::{Answer, Ask};
use crate::error::Error;

/// How a key is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetKey {
    /// It expires after so long; else never.
    pub ttl: Option<Duration>,
    /// Only then.
    pub condition: Condition,
    /// Makes a second set with the same id a duplicate, so that one whose connection was lost can be
    /// tried again.
    pub dedupe_id: Option<String>,
}

/// All fail as [`Client::control`] does; a key that is not there is refused as `not_found`, a
/// condition that does not hold as `conflict`.
impl Client {
    /// Gives a key a value; the answer comes when it is safe.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn set_key(
        &self,
        key: &Key,
        value: &Value,
        how: &SetKey,
    ) -> Result<KeyWritten, Error> {
        let told = match (value.kind, std::str::from_utf8(&value.bytes)) {
            (ValueKind::Bytes, _) | (_, Err(_)) => {
                json!({"base64": BASE64_STANDARD.encode(&value.bytes)})
            }
            (_, Ok(text)) => Json::from(text),
        };
        let mut body = Map::new();
        body.insert("key".into(), key.as_str().into());
        body.insert("kind".into(), value.kind.name().into());
        body.insert("value".into(), told);
        if let Some(ttl) = how.ttl {
            body.insert("ttl_ms".into(), u64::from(crate::client::millis(ttl)).into());
        }
        put_condition(&mut body, how.condition);
        if let Some(id) = &how.dedupe_id {
            body.insert("dedupe_id".into(), id.as_str().into());
        }
        self.ask_kv("kv.set", body).await
    }

    /// Reads a key.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn get_key(&self, key: &Key) -> Result<KeyEntry, Error> {
        self.ask_kv("kv.get", of(key)).await
    }

    /// Says whether a key is there, and until when.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn find_key(&self, key: &Key) -> Result<KeyThere, Error> {
        self.ask_kv("kv.exists", of(key)).await
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn delete_key(&self, key: &Key, condition: Condition) -> Result<KeyWritten, Error> {
        let mut body = of(key);
        put_condition(&mut body, condition);
        self.ask_kv("kv.delete", body).await
    }

    /// Adds to a number; a key that is not there counts as 0.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn increment_key(
        &self,
        key: &Key,
        by: i64,
        dedupe_id: Option<&str>,
    ) -> Result<Incremented, Error> {
        let mut body = of(key);
        body.insert("by".into(), by.into());
        if let Some(id) = dedupe_id {
            body.insert("dedupe_id".into(), id.into());
        }
        self.ask_kv("kv.increment", body).await
    }

    /// A page of keys in their order, behind `after`.
    ///
    /// # Errors
    /// As [`Client::control`].
    pub async fn scan_keys(
        &self,
        keys: &Keys,
        after: Option<&str>,
        limit: u16,
        values: bool,
    ) -> Result<KeyPage, Error> {
        let mut body = which(keys);
        body.insert("limit".into(), limit.into());
        body.insert("values".into(), values.into());
        if let Some(after) = after {
            body.insert("after".into(), after.into());
        }
        self.ask_kv("kv.scan", body).await
    }

    /// What happened to keys from a change on, in order; waits so long for the first one where there
    /// is none. What to ask from next comes with it, so nothing is lost with a connection. From
    /// none on: what happens from now on.
    ///
    /// ```no_run
    /// # async fn example(client: sluice_client::Client) -> Result<(), sluice_client::Error> {
    /// # use std::time::Duration;
    /// let all = sluice_client::Keys::below("users^").expect("it is a prefix");
    /// let mut from = None;
    /// loop {
    ///     let page = client.key_changes(&all, from, Duration::from_secs(30)).await?;
    ///     for change in &page.changes {
    ///         println!("{} {:?}", change.event, change.key);
    ///     }
    ///     from = Some(page.next);
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::control`]; refused as `gone` if that change is no longer known.
    pub async fn key_changes(
        &self,
        keys: &Keys,
        from: Option<u64>,
        wait: Duration,
    ) -> Result<KeyChanges, Error> {
        let mut body = which(keys);
        body.insert("wait_ms".into(), u64::from(crate::client::millis(wait)).into());
        if let Some(from) = from {
            body.insert("from".into(), from.into());
        }
        let ask = Ask::Control { verb: KV_CHANGES.into(), json: Json::from(body).to_string() };
        match self.ask_for(ask, wait).await? {
            Answer::Json(json) => read(KV_CHANGES, &json),
            _ => Err(Error::protocol("no RESULT for a CONTROL")),
        }
    }

    async fn ask_kv<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        body: Map<String, Json>,
    ) -> Result<T, Error> {
        read(verb, &self.control(verb, Json::from(body).to_string()).await?)
    }
}

fn read<T: DeserializeOwned>(verb: &str, answer: &str) -> Result<T, Error> {
    serde_json::from_str(answer).map_err(|error| Error::protocol(format_args!("{verb}: {error}")))
}

fn of(key: &Key) -> Map<String, Json> {
    Map::from_iter([("key".to_owned(), Json::from(key.as_str()))])
}

fn which(keys: &Keys) -> Map<String, Json> {
    let (name, text) = match keys {
        Keys::One(key) => ("key", key.as_str()),
        Keys::Below(prefix) => ("prefix", &**prefix),
    };
    Map::from_iter([(name.to_owned(), Json::from(text))])
}

fn put_condition(body: &mut Map<String, Json>, condition: Condition) {
    match condition {
        Condition::Always => {}
        Condition::Absent => drop(body.insert("if_absent".into(), true.into())),
        Condition::Revision(revision) => {
            drop(body.insert("if_revision".into(), revision.0.into()));
        }
    }
}
