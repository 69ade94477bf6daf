//! The host of a URL as limits see it: `host:port`, the key of its messages.

use std::fmt;
use std::sync::Arc;

use reqwest::Url;
use sluice_model::KEY_BYTES_MAX;
use thiserror::Error;

/// `host:port` in lower case. Clones are cheap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Arc<str>);

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is asked for.
    pub url: Url,
    /// Whom limits count it for.
    pub host: Host,
}

/// Why a URL can't be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// It is no URL.
    #[error("{text:?} is no URL: {problem}{hint}")]
    Syntax {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: String,
        /// What may help.
        hint: &'static str,
    },
    /// It speaks another protocol.
    #[error("{0}:// can't be fetched, only http:// and https://")]
    Scheme(String),
    /// Its host can't be a key.
    #[error("host and port have {0} bytes, at most {KEY_BYTES_MAX} are allowed")]
    HostLength(usize),
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is none, or can't be fetched.
    pub fn read(text: &str) -> Result<Self, UrlError> {
        let syntax = |problem: String, hint| UrlError::Syntax { text: shown(text), problem, hint };
        let url = Url::parse(text).map_err(|error| {
            let hint =
                if text.contains("://") { "" } else { "; begin it with http:// or https://" };
            syntax(error.to_string(), hint)
        })?;
        Self::of(url)
    }

    /// Where a redirect leads to.
    ///
    /// # Errors
    /// It can't be read, or can't be fetched.
    pub fn redirected(&self, location: &str) -> Result<Self, UrlError> {
        let url = self.url.join(location).map_err(|error| UrlError::Syntax {
            text: shown(location),
            problem: error.to_string(),
            hint: "",
        })?;
        Self::of(url)
    }

    fn of(url: Url) -> Result<Self, UrlError> {
        if !matches!(url.scheme(), "http" | "https") {
            // `localhost:8080` reads as a scheme and a path.
            return match url.has_host() {
                true => Err(UrlError::Scheme(url.scheme().to_owned())),
                false => Err(UrlError::Syntax {
                    text: shown(url.as_str()),
                    problem: "it has no host".to_owned(),
                    hint: "; begin it with http:// or https://",
                }),
            };
        }
        // Both schemes have a host and a port of their own.
        let host = url.host_str().unwrap_or_default();
        let key = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        match key.len() <= KEY_BYTES_MAX {
            true => Ok(Self { url, host: Host(key.into()) }),
            false => Err(UrlError::HostLength(key.len())),
        }
    }
}

impl Host {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As much of a text as helps to find it.
fn shown(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<String, String> {
        Target::read(text).map(|target| target.host.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    #[rustfmt::skip]
    fn a_host_is_a_name_and_a_port_whatever_the_url_leaves_out() {
        let cases = [
            ("http://Example.com",             "example.com:80"),
            ("https://example.com/a?b#c",      "example.com:443"),
            ("http://example.com:8080/",       "example.com:8080"),
            ("http://user:pw@127.0.0.1:81/x",  "127.0.0.1:81"),
            ("http://[::1]:9/",                "[::1]:9"),
            ("http://bücher.example/",         "xn--bcher-kva.example:80"),
        ];
        for (text, expected) in cases {
            assert_eq!(host(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_fetched_says_why() {
        let long = format!("http://{}.example/", "a.".repeat(70));
        let cases = [
            ("example.com/a", "begin it with http:// or https://"),
            ("localhost:8080", "begin it with http:// or https://"),
            ("ftp://example.com", "ftp:// can't be fetched"),
            ("http://", "empty host"),
            ("http://a:99999/", "invalid port number"),
            (&long, "at most 128 are allowed"),
        ];
        for (text, expected) in cases {
            let error = host(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_redirect_is_read_beside_the_url_that_it_came_from() {
        let from = Target::read("https://a.example/x/y?z").unwrap();
        let to = |location| from.redirected(location).map(|to| to.url.to_string());
        assert_eq!(to("w"), Ok("https://a.example/x/w".to_owned()));
        assert_eq!(to("//b.example"), Ok("https://b.example/".to_owned()));
        assert_eq!(to("http://c.example/"), Ok("http://c.example/".to_owned()));
        assert_eq!(to("mailto:a@b"), Err(from.redirected("mailto:a@b").unwrap_err()));
    }
}
