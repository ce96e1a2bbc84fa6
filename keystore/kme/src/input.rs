//! What strangers write: JSON bodies and queries, read strictly.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::reply::Refusal;

/// A body that is a JSON object. What else would do for serde, such as a list of the fields' values, will not do here.
pub(crate) fn object<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, Refusal> {
    let refusal = |reason: &dyn std::fmt::Display| Refusal::bad_request(format!("the body is not {what}: {reason}"));
    let value = serde_json::from_slice(body).map_err(|error| refusal(&error))?;
    if body.trim_ascii_start().first() == Some(&b'{') { Ok(value) } else { Err(refusal(&"it must be a JSON object")) }
}

/// The entries of `key_IDs`, in which each must be an object as well.
#[derive(serde::Deserialize)]
pub(crate) struct EntriesAreObjects {
    #[serde(rename = "key_IDs")]
    _entries: Vec<Map<String, Value>>,
}

/// One parameter of a query, percent-decoded, which may stand there once. Others are passed over.
pub(crate) fn parameter<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut values = pairs.filter(|(key, _)| decoded(key).is_some_and(|key| key == name)).map(|(_, value)| value);
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::bad_request(format!("{name} may be given once only; use POST for more")));
    }
    let broken = || Refusal::bad_request(format!("the value of {name} is not percent-encoded UTF-8"));
    first.map(|value| decoded(value).ok_or_else(broken)).transpose()
}

/// A whole number in a query: digits only, without the sign that Rust's own parser takes.
pub(crate) fn number(query: &str, name: &str) -> Result<Option<u32>, Refusal> {
    let Some(text) = parameter(query, name)? else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(Some(number)),
        _ => Err(Refusal::bad_request(format!("{name} must be a whole number, in digits, of at most {}", u32::MAX))),
    }
}

/// Percent-decoding (RFC 3986, section 2.1); `None` where it is broken, or not UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let value = |query| parameter(query, "key_ID").unwrap().map(Cow::into_owned);
        assert_eq!(value("a=b&key_ID=bc49%2D0419").as_deref(), Some("bc49-0419"));
        assert_eq!(value("key%5fID=%C3%A4").as_deref(), Some("\u{e4}"));
        assert_eq!(value("key_ID").as_deref(), Some(""));
        assert_eq!(value("%=1&%zz=2&number=%"), None, "what is broken elsewhere is passed over");
        for broken in ["key_ID=%", "key_ID=%4", "key_ID=%+4", "key_ID=%ff", "key_ID=1&key%5FID=1"] {
            assert!(parameter(broken, "key_ID").is_err(), "{broken}");
        }
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(number("n=%33", "n").unwrap(), Some(3));
        assert_eq!(number("m=x", "n").unwrap(), None);
        for wrong in ["n=+3", "n=%2B3", "n=-3", "n=", "n", "n= 3", "n=3%20", "n=4294967296", "n=0x3"] {
            assert!(number(wrong, "n").is_err(), "{wrong}");
        }
    }

    #[test]
    fn bodies_are_objects() {
        assert!(object::<vernam_etsi014::KeyRequest>(b" \n{\"number\":1}", "x").is_ok());
        for wrong in ["[]", " [1,256]", "null", "1", "{} {}", "\u{c}{}"] {
            assert!(object::<vernam_etsi014::KeyRequest>(wrong.as_bytes(), "x").is_err(), "{wrong}");
        }
    }
}
