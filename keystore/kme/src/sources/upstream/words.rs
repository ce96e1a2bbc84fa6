//! What the two ends of an upstream source say to each other, through their KMEs. Names of keys travel, never bits.
//!
//! ```text
//!   master                                              slave
//!     ├── ready {void_from} ─────────────────────────────►│  forgets blocks that the master does not have
//!     │◄───────────────────────── {next_block, full} ─────┤
//!     │  enc_keys at its vendor's KME                     │
//!     ├── collect {block, key_bits, key_IDs} ────────────►│  dec_keys at its vendor's KME; deposits, durably
//!     │◄───────────────────────── {taken} ────────────────┤
//!     │  deposits                                         │
//! ```

use serde::{Deserialize, Serialize};
use vernam_etsi014::KeyIds;

/// The most keys of one block.
pub(super) const MAX_KEYS: u32 = 1024;

/// From the master.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    /// Random, anew each time the master's source starts.
    pub(super) session: u64,
    /// Ascends within a session: what is overtaken on the way is not obeyed.
    pub(super) turn: u64,
    #[serde(flatten)]
    pub(super) ask: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "vernam_upstream", rename_all = "snake_case")]
pub(super) enum Ask {
    /// Is the slave ready for a block?
    Ready {
        /// The master has no block of this number or higher, and never will have one below the answer's `next_block`.
        void_from: u64,
    },
    /// Collect these keys, and deposit them end to end.
    Collect {
        /// The number of the block.
        block: u64,
        /// Size of each key, in bits.
        key_bits: u32,
        /// Their names, in order.
        #[serde(flatten)]
        keys: KeyIds,
    },
}

/// From the slave.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The lowest number that it still takes.
    pub(super) next_block: u64,
    /// Whether it has as much key as it wants.
    pub(super) full: bool,
    /// What became of a block; absent in the answer to `ready`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<Outcome>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Deposited, durably.
    Taken { block: u64 },
    /// Not known yet: ask again.
    Working { block: u64 },
    /// It is not there, and never will be; or nobody knows any more.
    Burned { block: u64, why: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_plain_json() {
        let id = "bc490419-7d60-487f-adc1-4ddcc177c139";
        let text = format!(
            r#"{{"session":7,"turn":1,"vernam_upstream":"collect","block":3,"key_bits":256,"key_IDs":[{{"key_ID":"{id}"}}]}}"#
        );
        let question: Question = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&question).unwrap(), text);
        let outcome = Outcome::Burned { block: 3, why: "why".to_owned() };
        let text = serde_json::to_string(&Answer { next_block: 4, full: false, outcome: Some(outcome) }).unwrap();
        let expected = r#"{"next_block":4,"full":false,"outcome":{"state":"burned","block":3,"why":"why"}}"#;
        assert_eq!(text, expected);
    }
}
