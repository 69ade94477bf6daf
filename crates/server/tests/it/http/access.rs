//! Keys and grants at the HTTP door, and keys made through it.

use std::sync::{Arc, Mutex};

use serde_json::json;
use sluice_model::Grants;
use sluice_server::{ApiKey, Config, KeyHash, KeyStore, KeyStoreError, StoredKey};

use super::client::Http;
use super::{Place, config};

/// Keys in memory.
#[derive(Debug, Default)]
struct Store(Mutex<Vec<(String, Vec<String>, Grants)>>);

impl KeyStore for Store {
    fn list(&self) -> Result<Vec<StoredKey>, KeyStoreError> {
        let key = |(id, secrets, grants): &(String, Vec<String>, Grants)| StoredKey {
            id: id.clone(),
            created_at: "2025-01-31T12:00:00Z".into(),
            secrets: secrets.len(),
            grants: grants.to_texts(),
        };
        Ok(self.0.lock().unwrap().iter().map(key).collect())
    }

    fn create(
        &self,
        id: Option<&str>,
        grants: &Grants,
        rotate: bool,
    ) -> Result<(String, String), KeyStoreError> {
        let id = id.unwrap_or("made").to_owned();
        let mut keys = self.0.lock().unwrap();
        let known = keys.iter_mut().find(|(known, ..)| *known == id);
        let secret = format!("slc_{id}_{rotate}");
        match (known, rotate) {
            (Some(_), false) => {
                return Err(KeyStoreError::Conflict(format!("there is a key {id}")));
            }
            (None, true) => return Err(KeyStoreError::NotFound(format!("there is no key {id}"))),
            (Some((_, secrets, _)), true) => secrets.push(secret.clone()),
            (None, false) => keys.push((id.clone(), vec![secret.clone()], grants.clone())),
        }
        Ok((id, secret))
    }

    fn revoke(&self, id: &str, _: bool) -> Result<(), KeyStoreError> {
        let mut keys = self.0.lock().unwrap();
        let at = keys.iter().position(|(known, ..)| known == id);
        let at = at.ok_or_else(|| KeyStoreError::NotFound(format!("there is no key {id}")))?;
        keys.remove(at);
        Ok(())
    }

    fn load(&self) -> Result<Vec<ApiKey>, KeyStoreError> {
        let keys = self.0.lock().unwrap();
        let key = |(id, secrets, grants): &(String, Vec<String>, Grants)| ApiKey {
            id: id.as_str().into(),
            hashes: secrets.iter().map(|secret| KeyHash::of(secret)).collect(),
            grants: grants.clone(),
        };
        Ok(keys.iter().map(key).collect())
    }
}

/// Keys on a disk that is gone.
#[derive(Debug)]
struct Broken;

impl Broken {
    fn failed<T>() -> Result<T, KeyStoreError> {
        Err(KeyStoreError::Failed("the keys can't be read".into()))
    }
}

impl KeyStore for Broken {
    fn list(&self) -> Result<Vec<StoredKey>, KeyStoreError> {
        Self::failed()
    }

    fn create(
        &self,
        _: Option<&str>,
        _: &Grants,
        _: bool,
    ) -> Result<(String, String), KeyStoreError> {
        Self::failed()
    }

    fn revoke(&self, _: &str, _: bool) -> Result<(), KeyStoreError> {
        Self::failed()
    }

    fn load(&self) -> Result<Vec<ApiKey>, KeyStoreError> {
        Self::failed()
    }
}

fn keyed() -> Config {
    let mut config = config();
    config.allowed_api_keys = vec!["root".into()];
    config.http.key_store = Some(Arc::new(Store::default()));
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_cant_be_read_are_the_servers_fault() {
    let mut config = keyed();
    config.http.key_store = Some(Arc::new(Broken));
    let place = Place::with(config).await;
    let mut root = Http::with_key(place.server.http, "root").await;
    root.get("/v1/keys").await.refuses(500, "internal", "the keys can't be read");
    root.ask("DELETE", "/v1/keys/some", b"").await.refuses(500, "internal", "can't be read");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_right_key_nothing_is_told_but_that_somebody_is_there() {
    let place = Place::with(keyed()).await;
    let mut nobody = place.client().await;
    for path in ["/health", "/livez", "/readyz", "/v1/openapi.json"] {
        assert_eq!(nobody.get(path).await.status, 200, "{path}");
    }
    for (method, path) in [
        ("POST", "/enqueue"),
        ("GET", "/dequeue"),
        ("POST", "/clear"),
        ("GET", "/metrics"),
        ("GET", "/v1/queues"),
        ("GET", "/v1/keys"),
        ("GET", "/nothing"),
    ] {
        let refused = nobody.ask(method, path, b"").await;
        refused.refuses(401, "unauthenticated", "a key is needed");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    let mut wrong = Http::with_key(place.server.http, "wrong").await;
    for _ in 0..10 {
        wrong.get("/v1/queues").await.refuses(401, "unauthenticated", "invalid API key");
    }
    let refused = wrong.get("/v1/queues").await;
    refused.refuses(429, "rate_limited", "too many wrong keys");
    assert!(refused.header("retry-after").is_some());
    assert!(!format!("{refused:?}").contains("wrong\""), "no key is repeated");
    assert_eq!(place.stop().await.auth_failures, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_made_count_at_once_and_for_what_they_were_given() {
    let place = Place::with(keyed()).await;
    let mut root = Http::with_key(place.server.http, "root").await;
    let made = root.post("/v1/keys", json!({"id": "shop", "grants": ["publish:orders.>"]})).await;
    assert_eq!(made.status, 201);
    let key = made.json()["key"].as_str().unwrap().to_owned();
    root.post("/v1/keys", json!({"id": "shop", "grants": ["all"]}))
        .await
        .refuses(409, "conflict", "");
    root.post("/v1/keys", json!({"grants": ["fly:>"]})).await.refuses(422, "invalid", "grants");
    root.post("/v1/keys", json!({"idd": "x"})).await.refuses(400, "bad_request", "idd");
    let list = root.get("/v1/keys").await.ok();
    assert_eq!(list["keys"][0]["grants"], json!(["publish:orders.>"]));
    assert!(!list.to_string().contains("slc_"));
    root.ask("PUT", "/v1/queues/orders.eu", b"").await.ok();
    let mut shop = Http::with_key(place.server.http, &key).await;
    let body = json!({"messages": [{"payload": "x"}]});
    shop.post("/v1/queues/orders.eu/messages", body.clone()).await.ok();
    for (method, path) in [
        ("POST", "/v1/queues/orders.eu/receive"),
        ("DELETE", "/v1/queues/orders.eu"),
        ("GET", "/v1/queues"),
        ("GET", "/v1/keys"),
        ("POST", "/v1/backups"),
        ("GET", "/metrics"),
        ("POST", "/clear"),
        ("POST", "/enqueue"),
        ("GET", "/dequeue"),
        ("POST", "/persist?file=x"),
    ] {
        shop.ask(method, path, b"").await.refuses(403, "forbidden", "no grant");
    }
    root.ask("DELETE", "/v1/keys/shop", b"").await.ok();
    root.ask("DELETE", "/v1/keys/shop", b"").await.refuses(404, "not_found", "no key");
    shop.post("/v1/queues/orders.eu/messages", body).await.refuses(401, "unauthenticated", "");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_revoked_ends_what_waits_with_it() {
    let place = Place::with(keyed()).await;
    let mut root = Http::with_key(place.server.http, "root").await;
    root.ask("PUT", "/v1/queues/mail", b"").await.ok();
    let made = root.post("/v1/keys", json!({"id": "w", "grants": ["consume:mail"]})).await;
    let mut worker = Http::with_key(place.server.http, made.json()["key"].as_str().unwrap()).await;
    let wait = json!({"wait_ms": 60000}).to_string();
    let request = worker.request("POST", "/v1/queues/mail/receive", "", wait.as_bytes());
    worker.say(&request).await;
    while root.get("/v1/queues/mail").await.ok()["waiting"] != 1 {}
    root.ask("DELETE", "/v1/keys/w", b"").await.ok();
    worker.hears().await.refuses(401, "unauthenticated", "no longer counts");
    // One connection may speak for several keys, one request each.
    let head = "GET /v1/queues HTTP/1.1\r\nHost: localhost\r\nAuthorization: bearer root\r\n\r\n";
    worker.say(head.as_bytes()).await;
    worker.hears().await.ok();
    place.stop().await;
}
