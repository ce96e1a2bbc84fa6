//! What a KME tells those who watch it: metrics, the audit trail, logs. Never a key byte.

use std::time::Duration;

use vernam_etsi014::{KmeId, SaeId};
use vernam_key::KeyId;

use crate::LinkReport;

/// Which request it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// 014 "Get status".
    Status,
    /// 014 "Get key".
    GetKey,
    /// 014 "Get key with key IDs".
    GetKeyWithIds,
    /// KME to KME: reserve.
    ExtKeys,
    /// KME to KME: delivered.
    Ack,
    /// KME to KME: void.
    Void,
    /// KME to KME: a word between the two ends of a key source.
    Source,
    /// Anything else.
    Other,
}

/// Something that happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum KmeEvent<'a> {
    /// A request was answered.
    Request {
        /// The caller's name, by its certificate.
        who: &'a str,
        /// What it asked for.
        endpoint: Endpoint,
        /// HTTP status.
        status: u16,
        /// The refusal's message, if it was one.
        refusal: Option<&'a str>,
        /// From the request's head to the answer's.
        took: Duration,
    },
    /// Keys were given to a master here; durable.
    Delivered {
        /// The master.
        master: &'a SaeId,
        /// Its slaves, all of them.
        slaves: &'a [SaeId],
        /// The link whose key it is.
        link: &'a KmeId,
        /// The names of the keys.
        keys: &'a [KeyId],
        /// Size of each, in bits.
        bits: u32,
    },
    /// Keys of a master elsewhere were set aside for slaves here; durable.
    Reserved {
        /// The link they came over.
        link: &'a KmeId,
        /// The master.
        master: &'a SaeId,
        /// The slaves here.
        slaves: &'a [SaeId],
        /// The names of the keys.
        keys: &'a [KeyId],
    },
    /// Keys were given to a slave here; durable.
    Collected {
        /// The slave.
        slave: &'a SaeId,
        /// The master.
        master: &'a SaeId,
        /// The names of the keys.
        keys: &'a [KeyId],
        /// All their bits together.
        bits: u64,
    },
    /// Keys were erased unused.
    Voided {
        /// Their link; `None` where it is several.
        link: Option<&'a KmeId>,
        /// How many.
        keys: u64,
        /// Why, in plain words.
        why: &'a str,
    },
    /// A block came from a source.
    Deposited {
        /// The link.
        link: &'a KmeId,
        /// Its number.
        block: u64,
        /// Its bits.
        bits: u64,
        /// Whether there was room for it.
        kept: bool,
    },
    /// The link's report changed.
    Link {
        /// The link.
        link: &'a KmeId,
        /// How it stands.
        report: &'a LinkReport,
    },
    /// A connection ended in the TLS handshake: nobody was let in.
    HandshakeRefused {
        /// Why, in plain words.
        why: &'a str,
    },
    /// The KME serves.
    Started,
    /// The configuration or the certificates were read anew.
    Reloaded,
    /// The KME ends.
    Stopping,
}

/// Somebody who is told everything, on the thread where it happens: it must be quick and must not block.
pub trait Observer: Send + Sync {
    /// Takes note.
    fn on(&self, event: &KmeEvent<'_>);
}
