//! What the KME knows of its quantum link: said to it by the link, passed on in Status.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vernam_etsi014::Extension;

/// The condition of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// It makes key.
    Up,
    /// It makes no key now; what is in store is good.
    Down,
    /// The error rate is over the threshold: somebody may be listening. No new keys are delivered.
    Alarm,
}

/// The link's own report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Its condition.
    pub state: LinkState,
    /// Quantum bit error rate of the latest block, 0 to 1, if one was measured.
    pub qber: Option<f64>,
    /// The error rate at which blocks are discarded, 0 to 1.
    pub threshold: f64,
    /// Secret bits made per second, both halves together.
    pub rate_bps: f64,
    /// Why it is in this condition, in plain words.
    pub reason: String,
}

impl LinkReport {
    /// Before the link has said anything.
    pub fn unknown() -> Self {
        Self {
            state: LinkState::Down,
            qber: None,
            threshold: 0.0,
            rate_bps: 0.0,
            reason: "the link has not reported yet".to_owned(),
        }
    }

    /// The `vernam_link` extension of Status, and the details of a refusal.
    pub fn to_extension(&self) -> Extension {
        let link = serde_json::to_value(self).unwrap_or(Value::Null);
        Extension::from_iter([("vernam_link".to_owned(), link)])
    }
}
