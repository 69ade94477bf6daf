//! Who may ask at all: the host that was meant, the page that asks, the key that is shown.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use sluice_model::{Code, Principal, Refusal};
use tokio::time::Instant;
use tracing::info;

use crate::auth::KeyHash;
use crate::doors::{Peer, Shared};

/// By which a browser says where the page is from that asks.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a host that is not this one: a page of another site that has had its name point to us.
///
/// # Errors
/// `misdirected`.
pub(super) fn check_host(parts: &Parts, local: IpAddr, shared: &Shared) -> Result<(), Refusal> {
    let header = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let target = parts.uri.authority().map(|authority| authority.as_str());
    let is_ours = |authority: &str| is_allowed(authority, local, &shared.config.http.allowed_hosts);
    // A target with a host of its own counts beside the header.
    let is_good = header.is_some_and(is_ours) && target.is_none_or(is_ours);
    if is_good {
        return Ok(());
    }
    shared.counters.http_foreign_hosts.one();
    Err(Refusal::new(Code::Misdirected, "the host asked for is not this one; see allowed_hosts"))
}

fn is_allowed(authority: &str, local: IpAddr, allowed: &[String]) -> bool {
    let Some(host) = host_of(authority) else { return false };
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.to_canonical().is_loopback() || ip.to_canonical() == local => true,
        _ => allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)),
    }
}

/// The host of `HOST`, `HOST:PORT` or `[HOST]:PORT`.
fn host_of(authority: &str) -> Option<&str> {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(host);
    }
    match authority.split_once(':') {
        Some((host, port)) => is_port(port).then_some(host),
        None => Some(authority),
    }
}

/// Refuses what a page of another site asks a browser to do here.
///
/// # Errors
/// `forbidden`.
pub(super) fn check_origin(parts: &Parts, shared: &Shared) -> Result<(), Refusal> {
    let reads = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS)
        && parts.uri.path() != super::simple::DEQUEUE;
    if reads || is_same_site(&parts.headers) {
        return Ok(());
    }
    shared.counters.http_foreign_origins.one();
    Err(Refusal::new(Code::Forbidden, "pages of other sites may not do this"))
}

fn is_same_site(headers: &HeaderMap) -> bool {
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return false;
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok();
    let authority = origin.and_then(|origin| {
        origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
    });
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// Finds out who asks.
///
/// # Errors
/// `unauthenticated` without a right key; `rate_limited` for some time after too many wrong ones,
/// during which no key is looked at.
pub(super) fn authenticate(
    headers: &HeaderMap,
    peer: Peer,
    shared: &Shared,
) -> Result<Principal, Refusal> {
    let keys = shared.keys();
    if keys.is_open() {
        return Ok(Principal::Anonymous);
    }
    let Some(shown) = headers.get(AUTHORIZATION) else {
        let text = "a key is needed: Authorization: Bearer KEY";
        return Err(Refusal::new(Code::Unauthenticated, text));
    };
    let now = Instant::now().into_std();
    if let Some(until) = shared.failures.blocked_until(peer.ip, now) {
        shared.counters.auth_delays.one();
        let retry_after = Some(until.saturating_duration_since(now));
        let text = "too many wrong keys from this address";
        return Err(Refusal { retry_after, ..Refusal::new(Code::RateLimited, text) });
    }
    let key = shown.to_str().ok().and_then(|text| {
        let (scheme, key) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    if let Some(principal) = key.and_then(|key| keys.find(KeyHash::of(key))) {
        return Ok(principal);
    }
    shared.failures.failed(peer.ip, now);
    shared.counters.auth_failures.one();
    info!(connection = peer.connection, ip = %peer.ip, "wrong API key");
    Err(Refusal::new(Code::Unauthenticated, "invalid API key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_ours_by_name_or_address() {
        let local: IpAddr = "192.0.2.7".parse().unwrap();
        let allowed = ["broker.example.org".to_owned()];
        let ours = [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:80",
            "[::1]",
            "192.0.2.7:8080",
            "Broker.Example.org",
        ];
        for host in ours {
            assert!(is_allowed(host, local, &allowed), "{host}");
        }
        let foreign = [
            "",
            "evil.example",
            "localhost.evil.example",
            "192.0.2.8",
            "127.0.0.1:80@evil.example",
            "localhost:x",
            "[::1",
            "[::1]x",
            "[2001:db8::1]:80",
        ];
        for host in foreign {
            assert!(!is_allowed(host, local, &allowed), "{host}");
        }
    }

    #[test]
    fn only_our_own_pages_and_programs_may_change_something() {
        let cases = [
            (&[][..], true),
            (&[("origin", "http://localhost:80")], true),
            (&[("origin", "https://localhost:80"), ("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("origin", "http://localhost:81")], false),
            (&[("origin", "http://evil.example")], false),
            (&[("origin", "null")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("origin", "http://localhost:80"), ("sec-fetch-site", "cross-site")], false),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("localhost:80"));
            for (name, value) in given {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_same_site(&headers), expected, "{given:?}");
        }
    }
}
