//! Keys: made, listed, revoked, and in force at once.

use std::sync::Arc;

use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sluice_model::{Action, Code, Grants, Resource};
use utoipa::ToSchema;

use super::schema;
use crate::doors::http::caller::Caller;
use crate::doors::http::extract::{self, At, Fields, Json};
use crate::doors::http::refusal::{Outcome, Refused};
use crate::doors::http::{KeyStore, KeyStoreError, StoredKey};

/// Keys, without their secrets.
#[derive(Serialize, ToSchema)]
pub(super) struct Keys {
    keys: Vec<Key>,
}

/// A key, without its secrets.
#[derive(Serialize, ToSchema)]
struct Key {
    /// What its holder is called.
    id: String,
    /// When it was made, as RFC 3339 writes it.
    created_at: String,
    /// How many secrets it has.
    secrets: usize,
    /// What its holder may do.
    grants: Vec<String>,
}

/// What key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// What its holder is called; else something random.
    #[serde(default)]
    id: Option<String>,
    /// What it may do, such as `publish:orders.>`, or `all`.
    #[serde(default)]
    grants: Vec<String>,
    /// Give the key that there is a second secret, with its grants.
    #[serde(default)]
    rotate: bool,
}

/// A key that was made. It can't be shown again.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeKey {
    /// What its holder is called.
    id: String,
    /// The key itself.
    key: String,
}

/// List keys
#[utoipa::path(
    get, path = "/v1/keys", tag = "admin",
    responses((status = 200, description = "All there are", body = Keys))
)]
pub(super) async fn list(caller: Caller) -> Outcome<Response> {
    let keys = with_store(&caller, |store| store.list()).await?;
    let key =
        |StoredKey { id, created_at, secrets, grants }| Key { id, created_at, secrets, grants };
    let keys = Keys { keys: keys.into_iter().map(key).collect() };
    Ok(extract::json(json!(keys).to_string()))
}

/// Make a key
///
/// It counts at once. The answer is the only place where it is ever shown.
#[utoipa::path(
    post, path = "/v1/keys", tag = "admin", request_body = NewKey,
    responses((status = 201, description = "The key", body = MadeKey))
)]
pub(super) async fn create(caller: Caller, Json(body): Json) -> Outcome<Response> {
    let NewKey { id, grants, rotate } = serde_json::from_slice(&body)
        .map_err(|error| Refused::new(Code::BadRequest, format!("the JSON is wrong: {error}")))?;
    if grants.is_empty() != rotate {
        let text = "grants: a new key needs some, one that gets a second secret keeps its own";
        return Err(Refused::new(Code::Invalid, text));
    }
    let grants = Grants::parse(grants.iter().map(String::as_str))
        .map_err(|error| Refused::new(Code::Invalid, format!("grants: {error}")))?;
    let make = move |store: &dyn KeyStore| store.create(id.as_deref(), &grants, rotate);
    let (id, key) = with_store(&caller, make).await?;
    reload(&caller).await?;
    let made = MadeKey { id, key };
    Ok(extract::json_with(StatusCode::CREATED, json!(made).to_string()))
}

/// Revoke a key
///
/// Connections of it are closed. With `oldest` only the older of its two secrets goes.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "admin", params(schema::KeyInPath,
        ("oldest" = Option<bool>, Query, description = "Only the older of its two secrets")),
    responses((status = 200, description = "It is gone", body = schema::Done))
)]
pub(super) async fn revoke(
    caller: Caller,
    At(id): At<String>,
    fields: Fields,
) -> Outcome<Response> {
    let oldest = match fields.only("oldest")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Refused::new(Code::BadRequest, "oldest is not true or false")),
    };
    with_store(&caller, move |store| store.revoke(&id, oldest)).await?;
    reload(&caller).await?;
    Ok(extract::json("{}".to_owned()))
}

/// Lets `act` have the keys, on a thread that may wait for a file.
async fn with_store<T: Send + 'static>(
    caller: &Caller,
    act: impl FnOnce(&dyn KeyStore) -> Result<T, KeyStoreError> + Send + 'static,
) -> Outcome<T> {
    caller.may(Action::Admin, Resource::Broker)?;
    let Some(store) = &caller.shared.config.http.key_store else {
        return Err(Refused::new(Code::Invalid, "this broker keeps no keys"));
    };
    let store = Arc::clone(store);
    let done = tokio::task::spawn_blocking(move || act(&*store)).await;
    match done {
        Ok(outcome) => outcome.map_err(|error| Refused(error.into())),
        Err(_) => Err(Refused::new(Code::Internal, "the keys can't be reached")),
    }
}

/// Lets the keys count as they are now.
async fn reload(caller: &Caller) -> Outcome<()> {
    let keys = with_store(caller, |store| store.load()).await?;
    caller.ring.replace(keys).map_err(|error| Refused::new(Code::Conflict, error.to_string()))
}
