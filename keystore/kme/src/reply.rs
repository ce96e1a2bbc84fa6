//! Answers: keys or JSON, and every error as the standard's JSON.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use vernam_etsi014::{DeliveredKey, ErrorBody, Extension, KeyContainer};

/// An answer before it is HTTP.
pub(crate) struct Reply {
    status: StatusCode,
    body: Bytes,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    close: bool,
}

/// A refusal. Becomes a [`Reply`].
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: ErrorBody,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    close: bool,
}

impl Reply {
    pub(crate) fn json(body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("our types have string keys only");
        Self::ok(body.into())
    }

    pub(crate) fn keys(keys: Vec<DeliveredKey>) -> Self {
        Self::ok(KeyContainer { keys, extension: None }.to_json().into_bytes())
    }

    fn ok(body: Bytes) -> Self {
        Self { status: StatusCode::OK, body, retry_after: None, allow: None, close: false }
    }

    pub(crate) fn into_http(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody::new(message), retry_after: None, allow: None, close: false }
    }

    /// 400: the request is at fault.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401: the caller may not.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 404: no such path. Outside the standard, as is 405.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this address; the API is under /api/v1/keys/")
    }

    /// 405: the path exists, for other methods.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("use {allow} here"));
        Self { allow: Some(allow), ..refusal }
    }

    /// 503: not now; ask again after `retry_after`.
    pub(crate) fn unavailable(message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    pub(crate) fn detail(mut self, detail: Extension) -> Self {
        self.body.details.get_or_insert_default().push(detail);
        self
    }

    /// The rest of the request was not read: the connection cannot go on.
    pub(crate) fn and_close(mut self) -> Self {
        self.close = true;
        self
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let reply = Self::json(&refusal.body);
        let Refusal { status, retry_after, allow, close, .. } = refusal;
        Self { status, retry_after, allow, close, ..reply }
    }
}
