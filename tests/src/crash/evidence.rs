//! What the clients' logs and the ledgers prove.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::Path;

use anyhow::ensure;
use vernam_key::KeyId;
use vernam_ledger::LinkView;

use super::client::{Line, read_log};

/// What both clients have written down.
pub(super) struct Evidence {
    /// Drawn by the one, collected by the other: alice to bob, then bob to alice.
    directions: [Direction; 2],
}

#[derive(Default)]
struct Direction {
    drawn: BTreeMap<KeyId, Vec<u8>>,
    collected: BTreeMap<KeyId, Vec<u8>>,
    gone: BTreeSet<KeyId>,
    /// What must never be, in words.
    faults: Vec<String>,
}

/// What was found in the end.
#[derive(Debug)]
pub struct Verdict {
    /// Keys that were drawn, collected, and known to be gone, both directions together.
    pub drawn: usize,
    /// Keys collected.
    pub collected: usize,
    /// Keys that the slave's KME did not have.
    pub gone: usize,
    /// What must never be, in words; empty when every promise was kept.
    pub faults: Vec<String>,
    /// Bits that are still set aside in a ledger.
    pub stuck_bits: u64,
    /// Messages that a peer has not heard.
    pub unheard: u64,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty() && self.stuck_bits == 0 && self.unheard == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { drawn, collected, gone, faults, stuck_bits, unheard } = self;
        writeln!(
            f,
            "keys drawn {drawn}, collected {collected}, gone {gone}; stuck {stuck_bits} bits, unheard {unheard}"
        )?;
        faults.iter().try_for_each(|fault| writeln!(f, "  {fault}"))
    }
}

impl Evidence {
    pub(super) fn read(alice: &Path, bob: &Path) -> anyhow::Result<Self> {
        let mut directions = <[Direction; 2]>::default();
        // 8 bytes of the link's key may come out once as a master's and once as a slave's.
        let mut given = [HashSet::new(), HashSet::new()];
        for (who, log) in [alice, bob].into_iter().enumerate() {
            for line in read_log(log, &mut 0) {
                let (direction, role) = if matches!(line, Line::Drawn(..)) { (who, 0) } else { (1 - who, 1) };
                let direction = &mut directions[direction];
                let (id, bytes, kind) = match line {
                    Line::Gone(id) => {
                        direction.gone.insert(id);
                        continue;
                    }
                    Line::Drawn(id, bytes) => (id, bytes, &mut direction.drawn),
                    Line::Collected(id, bytes) => (id, bytes, &mut direction.collected),
                };
                ensure!(bytes.len().is_multiple_of(8), "the clients draw multiples of 64 bits");
                let words = bytes.chunks(8).map(<[u8]>::to_vec);
                let twice = words.filter(|word| !given[role].insert(word.clone())).count();
                if twice > 0 {
                    direction.faults.push(format!("{twice} words of key {id} were given out before, as another key"));
                }
                if kind.insert(id, bytes).is_some() {
                    direction.faults.push(format!("key {id} was given twice to the same side"));
                }
            }
        }
        Ok(Self { directions })
    }

    pub(super) fn is_flowing(&self) -> bool {
        self.directions.iter().all(|direction| direction.collected.len() > 10)
    }

    pub(super) fn is_further_than(&self, before: &Self) -> bool {
        self.directions.iter().zip(&before.directions).all(|(now, before)| {
            now.drawn.len() > before.drawn.len() + 10 && now.collected.len() > before.collected.len() + 10
        })
    }

    pub(super) fn is_settled(&self) -> bool {
        self.directions.iter().all(|direction| {
            direction.drawn.keys().all(|id| direction.collected.contains_key(id) || direction.gone.contains(id))
        })
    }

    /// `most_gone`: how many keys may be gone, if that can be said.
    pub(super) fn verdict(self, books: &[Vec<LinkView>; 2], most_gone: Option<usize>) -> Verdict {
        let mut faults = Vec::new();
        let (mut drawn, mut collected, mut gone) = (0, 0, 0);
        for direction in self.directions {
            drawn += direction.drawn.len();
            collected += direction.collected.len();
            gone += direction.gone.len();
            faults.extend(direction.faults);
            for (id, bytes) in &direction.collected {
                match direction.drawn.get(id) {
                    Some(master) if master != bytes => faults.push(format!("key {id} differs between the two sides")),
                    Some(_) => {}
                    None => faults.push(format!("key {id} was collected, and no master has it")),
                }
            }
        }
        if most_gone.is_some_and(|most| gone > most) {
            faults.push(format!("{gone} keys are gone, which is more than the lost answers can explain"));
        }
        let views = books.iter().flatten();
        for view in views.clone().filter(|view| !view.accounting.balances()) {
            faults.push(format!("the books of the link to {} do not balance: {:?}", view.link, view.accounting));
        }
        if let [[a], [b]] = books.each_ref().map(Vec::as_slice) {
            let (a, b) = (a.accounting, b.accounting);
            if (a.made, a.pooled_own, a.pooled_peer) != (b.made, b.pooled_peer, b.pooled_own) {
                faults.push(format!("the two ends do not agree on what is left: {a:?} and {b:?}"));
            }
        }
        let stuck_bits = views.clone().map(|view| view.accounting.reserved).sum();
        let unheard = views.map(|view| view.outbox).sum();
        Verdict { drawn, collected, gone, faults, stuck_bits, unheard }
    }
}
