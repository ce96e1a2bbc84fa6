//! Every check, with what the standard says about it: the one list that the table, the JSON and the help go by.

/// What is looked at together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Group {
    /// Who may connect, and how.
    Tls,
    /// "Get status".
    Status,
    /// "Get key".
    GetKey,
    /// The keys themselves.
    Keys,
    /// "Get key with key IDs".
    Collecting,
    /// Requests that are odd or wrong.
    Requests,
    /// Many at once, and at the end of the stock.
    Load,
    /// What holds for all answers.
    Answers,
}

impl Group {
    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Tls => "Connecting",
            Self::Status => "Get status",
            Self::GetKey => "Get key",
            Self::Keys => "The keys",
            Self::Collecting => "Get key with key IDs",
            Self::Requests => "Odd and wrong requests",
            Self::Load => "Under load",
            Self::Answers => "All answers",
        }
    }
}

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Its name, for scripts; never changes its meaning.
    pub id: &'static str,
    /// What is looked at.
    pub group: Group,
    /// What should hold.
    pub title: &'static str,
    /// The clause of ETSI GS QKD 014 V1.1.1; empty where the standard is silent.
    pub clause: &'static str,
    /// What the standard says, in our words; or, where it is silent, why it matters.
    pub says: &'static str,
}

macro_rules! checks {
    ($($name:ident = $id:literal, $group:ident, $title:literal, $clause:literal, $says:literal;)*) => {
        $(pub(super) const $name: Check =
            Check { id: $id, group: Group::$group, title: $title, clause: $clause, says: $says };)*

        /// All checks, in the order of the report.
        pub const ALL: &[Check] = &[$($name),*];
    };
}

checks! {
    TLS_VERSION = "tls-version", Tls, "TLS 1.2 or later is spoken", "5.1",
        "HTTPS with TLS 1.2 or later.";
    TLS_OLD = "tls-old", Tls, "TLS 1.1 is refused", "5.1",
        "HTTPS with TLS 1.2 or later.";
    TLS_NOBODY = "tls-no-certificate", Tls, "No certificate, no answer", "5.1",
        "The KME knows the SAE by its certificate alone: both sides authenticate.";
    TLS_STRANGER = "tls-unknown-issuer", Tls, "A certificate of an unknown issuer is refused", "5.1",
        "The KME knows the SAE by its certificate alone: both sides authenticate.";

    STATUS_FIELDS = "status-fields", Status, "All fields are there, with their types", "6.1",
        "Four strings and seven integers are mandatory; status_extension is an object, if it is there.";
    STATUS_LIMITS = "status-limits", Status, "The limits agree with each other", "6.1",
        "min_key_size, key_size and max_key_size are in bits; stored_key_count is at most max_key_count.";
    STATUS_NAMES = "status-names", Status, "It names the caller as master and the URL's SAE as slave", "6.1",
        "master_SAE_ID is the caller, slave_SAE_ID the SAE in the URL.";
    STATUS_LATENCY = "status-latency", Status, "How fast it answers", "",
        "The standard sets no time.";

    ENC_GET = "enc-get", GetKey, "GET without a query gives one key", "5.3",
        "Without parameters: one key of the default size.";
    ENC_GET_QUERY = "enc-get-query", GetKey, "GET obeys ?number= and ?size=", "5.3",
        "number and size may be given in the query of a GET.";
    ENC_POST = "enc-post", GetKey, "POST obeys number and size", "6.2",
        "number and size are fields of the Key request.";
    ENC_POST_EMPTY = "enc-post-defaults", GetKey, "POST of {} gives one key of the default size", "6.2",
        "Every field is optional: number is 1 by default, size is the status's key_size.";
    ENC_NO_BODY = "enc-post-no-body", GetKey, "POST without a body is taken as {}", "",
        "The standard does not say; conformance suites disagree: as {} or as 400.";
    SIZE_MIN = "size-min", GetKey, "A key of min_key_size", "6.1",
        "min_key_size is the smallest size that is delivered.";
    SIZE_MAX = "size-max", GetKey, "A key of max_key_size", "6.1",
        "max_key_size is the largest size that is delivered.";
    SIZE_OVER = "size-over-max", GetKey, "A size over max_key_size is refused", "6.1",
        "max_key_size is the largest size that is delivered; a bad request gets 400.";
    SIZE_UNDER = "size-under-min", GetKey, "A size under min_key_size is refused", "6.1",
        "min_key_size is the smallest size that is delivered; a bad request gets 400.";
    SIZE_BITS = "size-not-multiple-of-8", GetKey, "A size that is no multiple of 8 is refused in the standard's words",
        "6.5", "400 with \u{201c}size shall be a multiple of 8\u{201d}.";
    NUMBER_MAX = "number-max", GetKey, "As many keys as one request may have", "6.1",
        "max_key_per_request is the most keys of one request.";
    NUMBER_OVER = "number-over-max", GetKey, "More than max_key_per_request is refused", "6.1",
        "max_key_per_request is the most keys of one request; a bad request gets 400.";
    NUMBER_ZERO = "number-zero", GetKey, "number 0 is refused", "",
        "The standard does not speak of it; no key at all is hardly what was meant.";

    KEY_UUID = "key-id-uuid", Keys, "Each key_ID is a UUID, as text with hyphens", "6.3",
        "key_ID is a string in the format of a UUID.";
    KEY_ID_ONCE = "key-id-unique", Keys, "No key_ID comes twice", "6.3",
        "A key_ID names one key.";
    KEY_ID_RANDOM = "key-id-random", Keys, "key_IDs are random (UUID version 4)", "",
        "The standard asks for a UUID of any kind. A counter or a clock in it tells others how much key is used, when.";
    KEY_ID_DERIVED = "key-id-not-derived", Keys, "key_IDs are not made from the keys", "",
        "The standard is silent, because it goes without saying: a key_ID travels in the open, and must tell nothing of \
         its key. A hash of a key lets anybody check guesses, and tells equal keys.";
    KEY_BASE64 = "key-base64", Keys, "Keys are base64 with padding", "6.3",
        "key is the key in base64 (RFC 4648, section 4).";
    KEYS_DIFFER = "keys-differ", Keys, "No key comes twice", "5.3",
        "What was delivered is gone from the pool.";
    KEYS_EVEN = "keys-even", Keys, "Bits are about as often 0 as 1, and change about as often as not", "",
        "The standard does not speak of it. This finds keys that are constant or badly made; it is no proof of \
         randomness, and says nothing about who else knows them.";

    DEC_POST = "dec-post", Collecting, "POST: the slave gets what the master got", "5.4",
        "The slave gets the same key under the same key_ID.";
    DEC_GET = "dec-get", Collecting, "GET ?key_ID=: the slave gets what the master got", "5.4",
        "One key_ID may be given in the query of a GET.";
    REPLAY = "replay", Collecting, "A key is collected once", "5.4",
        "After it was delivered a key is gone: asked again, it is not found, 400.";
    REPLAY_MANY = "replay-many", Collecting, "A key is collected once, also by 8 at the same time", "5.4",
        "After it was delivered a key is gone.";
    WRONG_SAE = "wrong-sae", Collecting, "Another SAE does not get the key", "5.4",
        "401, if the caller was not named in Get key for every key_ID.";
    WRONG_MASTER = "wrong-master", Collecting, "A key is not found under another master's name", "",
        "The standard has the master in the URL, and does not say what happens under another name.";
    UNKNOWN_KEY = "unknown-key-id", Collecting, "An unknown key_ID is refused in the standard's words", "6.5",
        "400 with \u{201c}one or more keys specified are not found on KME\u{201d}.";
    ALL_OR_NOTHING = "all-or-nothing", Collecting, "One unknown among good key_IDs: none is used up", "5.4",
        "400, because one is not found; then no key was delivered, and all good ones are still there.";
    NOT_A_UUID = "key-id-not-uuid", Collecting, "What is no UUID is refused", "6.4",
        "key_ID is a string in the format of a UUID; a bad request gets 400.";
    NO_IDS = "no-key-ids", Collecting, "A request without key_IDs is refused", "6.4",
        "key_IDs is mandatory; a bad request gets 400.";

    UNKNOWN_SLAVE = "unknown-slave", Requests, "An unknown slave is refused", "5.3",
        "A bad request gets 400.";
    BROKEN_JSON = "malformed-json", Requests, "What is no JSON is refused", "5.3",
        "A body is JSON; a bad request gets 400.";
    WRONG_TYPE = "wrong-type", Requests, "Wrong types are refused", "6.2",
        "number and size are integers, the others are arrays; a bad request gets 400.";
    UNKNOWN_FIELD = "unknown-field", Requests, "Unknown fields are passed over", "",
        "The standard does not say; real clients send some, and fail where they are refused.";
    EXT_MANDATORY = "extension-mandatory", Requests,
        "An unknown mandatory extension is refused in the standard's words", "6.5",
        "400 with \u{201c}not all extension_mandatory parameters are supported\u{201d}.";
    EXT_OPTIONAL = "extension-optional", Requests, "An unknown optional extension is passed over", "6.2",
        "The KME may ignore it.";
    MULTICAST = "multicast", Requests, "Additional slaves are served as max_SAE_ID_count says", "6.2",
        "Up to max_SAE_ID_count additional slaves get the same key under the same key_ID; 0: none are possible, 400.";
    MULTICAST_OVER = "multicast-over-max", Requests, "More additional slaves than max_SAE_ID_count are refused", "6.2",
        "max_SAE_ID_count is the most additional slaves; a bad request gets 400.";
    MULTICAST_EMPTY = "multicast-empty-list", Requests, "An empty list of additional slaves means none", "",
        "The standard does not say; conformance suites disagree: as none or as 400.";
    NO_SUCH_PATH = "no-such-path", Requests, "A path that does not exist: 404", "",
        "The standard names 200, 400, 401 and 503, for its own paths; HTTP has 404 for all others (RFC 9110, 15.5.5).";
    NO_SUCH_METHOD = "no-such-method", Requests, "A method that does not exist: 405", "",
        "The standard names GET and POST; HTTP has 405 for all others (RFC 9110, 15.5.6).";

    CONCURRENT = "concurrent", Load, "16 requests at once, master to slave: every key once, the same on both sides",
        "5.3", "What was delivered is gone from the pool.";
    BOTH_WAYS = "concurrent-both-ways", Load, "16 at once in each direction: no key for two masters", "5.3",
        "What was delivered is gone from the pool.";
    KEEP_ALIVE = "keep-alive", Load, "A connection serves several requests", "5.1",
        "HTTP/1.1, whose connections are kept open by default (RFC 9112, section 9.3).";
    IDLE = "idle-connection", Load, "Idle connections block nobody", "",
        "The standard does not speak of it. A KME that waits for one silent client serves none.";
    EMPTY = "empty-stock", Load, "An empty stock: 503, JSON, with Retry-After", "5.3",
        "503 when there is not enough key. Retry-After is HTTP's (RFC 9110, 10.2.3): clients know when to ask again.";

    ERRORS_JSON = "errors-json", Answers, "Every error is JSON with a message", "6.5",
        "An error is a JSON object with the string message, and details, an array of objects, if it is there.";
    CONTENT_TYPE = "content-type", Answers, "Every answer is declared as application/json", "5.1",
        "Answers are JSON in UTF-8: application/json.";
    CODES = "status-codes", Answers, "Only 200, 400, 401 and 503 are used", "5.1",
        "The three methods answer 200, 400, 401 or 503.";
    LEFT_OVER = "left-over", Answers, "All that was drawn could be collected", "5.4",
        "The slave gets the same key under the same key_ID.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ALL;

    #[test]
    fn each_check_has_a_name_of_its_own_and_something_to_say() {
        let ids: BTreeSet<_> = ALL.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for check in ALL {
            assert!(check.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-' || byte.is_ascii_digit()));
            assert!(check.says.ends_with('.') && check.id.len() <= 24 && check.title.len() <= 88, "{}", check.id);
            assert_eq!(check.clause.is_empty(), check.says.contains("standard"), "{}: {}", check.id, check.says);
        }
    }
}
