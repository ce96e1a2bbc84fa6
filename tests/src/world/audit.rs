//! Which bytes of which stock were taken, and for what: none may be taken twice.

use std::ops::Range;

use vernam_session::FlowId;

use super::Side;

/// One piece of stock that left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Whose stock.
    pub side: Side,
    /// Whether from the stock for what this side sends.
    pub outbound: bool,
    /// For which flow.
    pub flow: FlowId,
    /// Which positions.
    pub positions: Range<u64>,
}

/// Every piece of stock ever taken in a world, over all its sessions.
#[derive(Default)]
pub struct Audit(Vec<Take>);

impl Audit {
    pub(super) fn note(&mut self, side: Side, outbound: bool, flow: FlowId, start: u64, len: u64) {
        self.0.push(Take { side, outbound, flow, positions: start..start + len });
    }

    /// All of it, in order.
    pub fn takes(&self) -> &[Take] {
        &self.0
    }

    /// Checks that no byte of any stock was taken twice, and that what a receiver took its sender had taken before for
    /// the same flow.
    ///
    /// # Errors
    /// With the pieces that break the rule.
    pub fn check(&self) -> Result<(), String> {
        for (at, take) in self.0.iter().enumerate() {
            let same_stock = |other: &&Take| other.side == take.side && other.outbound == take.outbound;
            let overlaps = |other: &&Take| {
                other.positions.start < take.positions.end && take.positions.start < other.positions.end
            };
            if let Some(twice) = self.0[..at].iter().filter(same_stock).find(overlaps) {
                return Err(format!("taken twice: {twice:?} and {take:?}"));
            }
            let sent = |other: &&Take| {
                other.side != take.side
                    && other.outbound
                    && (other.flow, &other.positions) == (take.flow, &take.positions)
            };
            if !take.outbound && !self.0[..at].iter().any(|other| sent(&other)) {
                return Err(format!("taken without an offer: {take:?}"));
            }
        }
        Ok(())
    }
}
