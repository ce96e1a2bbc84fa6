//! What was found: one row a check, as values and as JSON.

use serde_json::{Value, json};

use super::catalogue::{self, Check};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// As the standard says, or, where it is silent, as clients need it.
    Pass,
    /// Against the standard, or key is given away.
    Fail,
    /// The standard leaves it open, and clients may trip over what this KME does.
    Differs,
    /// It could not be seen.
    Skipped,
}

impl Outcome {
    /// Its name, in the table and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Differs => "differs",
            Self::Skipped => "skipped",
        }
    }
}

/// One check and what came of it. Holds no key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// What was checked.
    pub check: Check,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
    /// What the KME's maker or operator can do; empty if it passed.
    pub advice: String,
}

/// One of the SAEs, and where it asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asker {
    /// `master`, `slave` or `third`.
    pub role: &'static str,
    /// Its `SAE_ID`.
    pub id: String,
    /// Its KME.
    pub url: String,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Who asked where.
    pub askers: Vec<Asker>,
    /// The rows, in the order of the catalogue.
    pub rows: Vec<Row>,
    /// How many keys were drawn.
    pub keys: usize,
    /// How many bits they had together.
    pub bits: u64,
}

impl Report {
    /// How many rows ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.rows.iter().filter(|row| row.outcome == outcome).count()
    }

    /// The names of the checks that ended so.
    pub fn ids(&self, outcome: Outcome) -> Vec<&'static str> {
        self.rows.iter().filter(|row| row.outcome == outcome).map(|row| row.check.id).collect()
    }

    /// 0 if nothing failed and a key was seen to go from end to end, else 1: a KME that gave none was not examined.
    pub fn exit_status(&self) -> u8 {
        let round_trip = self.rows.iter().any(|row| row.check == catalogue::DEC_POST && row.outcome == Outcome::Pass);
        u8::from(self.count(Outcome::Fail) > 0 || !round_trip)
    }

    /// Rows in the catalogue's order, whatever order they were found in.
    pub(super) fn sort(&mut self) {
        let place = |row: &Row| catalogue::ALL.iter().position(|check| check.id == row.check.id);
        self.rows.sort_by_key(place);
    }

    /// The JSON document.
    pub fn to_json(&self) -> Value {
        let askers: serde_json::Map<String, Value> = self
            .askers
            .iter()
            .map(|asker| (asker.role.to_owned(), json!({ "SAE_ID": asker.id, "url": asker.url })))
            .collect();
        let checks: Vec<Value> = self.rows.iter().map(Row::to_json).collect();
        json!({
            "tool": "vernam kme doctor",
            "version": env!("CARGO_PKG_VERSION"),
            "standard": "ETSI GS QKD 014 V1.1.1",
            "askers": askers,
            "drawn": { "keys": self.keys, "bits": self.bits },
            "counts": {
                "pass": self.count(Outcome::Pass),
                "fail": self.count(Outcome::Fail),
                "differs": self.count(Outcome::Differs),
                "skipped": self.count(Outcome::Skipped),
            },
            "checks": checks,
        })
    }
}

impl Row {
    fn to_json(&self) -> Value {
        let Self { check, outcome, seen, advice } = self;
        json!({
            "id": check.id,
            "group": check.group.title(),
            "title": check.title,
            "outcome": outcome.name(),
            "seen": seen,
            "clause": (!check.clause.is_empty()).then_some(check.clause),
            "standard": check.says,
            "advice": (!advice.is_empty()).then_some(advice),
        })
    }
}
