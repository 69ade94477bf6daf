//! What handlers take of a request, refused in the one shape where it is wrong.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use sluice_model::Code;

use super::caller::Caller;
use super::refusal::Refused;

/// The parts of the path that have names.
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path))
            .map_err(|error| Refused::new(Code::BadRequest, format!("the path: {error}")))
    }
}

/// The fields of the query.
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The fields with those of the path before them.
    pub(super) fn with<'a>(&'a self, path: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let query = self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        path.iter().copied().chain(query).collect()
    }

    /// Whether the field is there, whatever it says.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The only field there may be, by its name.
    ///
    /// # Errors
    /// There are others.
    pub(super) fn only(&self, known: &str) -> Result<Option<&str>, Refused> {
        match self.0.iter().find(|(name, _)| name != known) {
            Some((name, _)) => {
                let name: String = name.chars().take(64).collect();
                let text = format!("there is no field {name:?}, only {known}");
                Err(Refused::new(Code::BadRequest, text))
            }
            None => Ok(self.0.last().map(|(_, text)| text.as_str())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Fields {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let query = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(fields)| Self(fields))
            .map_err(|error| Refused::new(Code::BadRequest, format!("the query: {error}")))
    }
}

/// All of the body, as long as JSON may be.
pub(super) struct Json(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.expect("the door puts the caller on every request");
        let max = caller.shared.config.http.max_json;
        Ok(Self(caller.read(request.into_body(), max).await?))
    }
}

/// JSON that is written already, as an answer.
pub(super) fn json(text: String) -> Response {
    json_with(StatusCode::OK, text)
}

/// The same with another status.
pub(super) fn json_with(status: StatusCode, text: String) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, kind)], text).into_response()
}
