//! Answers: keys or JSON, and every error as the standard's JSON.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use vernam_etsi014::{DeliveredKey, ErrorBody, Extension, KeyContainer};
use vernam_ledger::Unavailable;

/// When to ask again after a hitch that may pass at once.
pub(crate) const BRIEF: Duration = Duration::from_secs(1);

/// An answer before it is HTTP.
pub(crate) struct Reply {
    status: StatusCode,
    body: Bytes,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    close: bool,
    refusal: Option<String>,
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
        Self { status: StatusCode::OK, body, retry_after: None, allow: None, close: false, refusal: None }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The refusal's message, if it is one.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    pub(crate) fn into_http(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
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

/// Rounded up, for who comes early is refused again; and at least 1, so that nobody asks without a pause (RFC 9110,
/// section 10.2.3, allows whole seconds only).
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, body: ErrorBody::new(message), retry_after: None, allow: None, close: false }
    }

    /// 400: the request is at fault.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 500, among KMEs only: nobody knows whether what was asked for has happened.
    pub(crate) fn unclear(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 503: the ledger does not answer, so nothing may be handed out. The database's own words are for our log alone.
    pub(crate) fn no_ledger(error: &Unavailable) -> Self {
        let (state, text) = match error {
            Unavailable::Storage(reason) => {
                tracing::error!(reason, "the ledger cannot be written");
                ("storage", "this KME cannot write its ledger, so no key is handed out; its operator must see to it")
            }
            Unavailable::Busy => ("busy", "this KME has too much to do"),
            _ => ("closed", "this KME is about to end"),
        };
        Self::unavailable(text, BRIEF).detail_of("vernam_ledger", state)
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

    pub(crate) fn detail_of(self, name: &str, value: impl Into<Value>) -> Self {
        self.detail(Extension::from_iter([(name.to_owned(), value.into())]))
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
        let Refusal { status, retry_after, allow, close, body } = refusal;
        Self { status, retry_after, allow, close, refusal: Some(body.message), ..reply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_come_too_early() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (1999, "2"), (60_000, "60")] {
            let refusal = Refusal::unavailable("not now", Duration::from_millis(millis));
            let answer = Reply::from(refusal).into_http();
            assert_eq!(answer.headers()[RETRY_AFTER], seconds, "{millis} ms");
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}
