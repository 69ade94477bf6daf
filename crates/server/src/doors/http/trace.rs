//! The id under which a request is found again in logs.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// The header that carries it.
pub(super) const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
const BYTES_MAX: usize = 64;

/// The client's own id where it is safe to repeat, else a new one.
pub(super) fn id(headers: &HeaderMap) -> HeaderValue {
    match headers.get(TRACE_ID) {
        Some(given) if is_safe(given.as_bytes()) => given.clone(),
        _ => fresh(),
    }
}

fn is_safe(id: &[u8]) -> bool {
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    (1..=BYTES_MAX).contains(&id.len()) && id.iter().all(good)
}

/// Unlike any other of this process, and most likely of any other.
fn fresh() -> HeaderValue {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut rest = SEED.hash_one(COUNT.fetch_add(1, Relaxed));
    let digits: [u8; 16] = std::array::from_fn(|_| {
        let digit = char::from_digit((rest & 15) as u32, 16).unwrap_or('0');
        rest >>= 4;
        digit as u8
    });
    HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safe_id_is_taken_over_and_others_are_replaced() {
        let long = "a".repeat(65);
        let cases =
            [("abc-DEF-123", true), ("", false), ("a b", false), ("a\tb", false), (&*long, false)];
        for (given, kept) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(TRACE_ID, given.parse().unwrap());
            let id = id(&headers);
            assert_eq!(id.as_bytes() == given.as_bytes(), kept, "{given:?}");
            assert!(is_safe(id.as_bytes()));
        }
        assert_ne!(fresh(), fresh());
    }
}
