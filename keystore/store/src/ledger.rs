//! Where one stock stands, twice: in its cursor file and in its anchor, in this order, so that an old copy is noticed.

use std::path::Path;

use crate::anchor::{Anchor, Anchors};
use crate::book::Totals;
use crate::cursor::{self, CursorFile};
use crate::slot::Mark;
use crate::store_key::Keyring;
use crate::{Error, Result};

/// The durable [`Totals`] of one stock.
pub(crate) struct Ledger {
    cursor: CursorFile,
    anchor: Anchor,
    /// How often the totals were written.
    turn: u64,
}

/// What opening finds.
pub(crate) struct Found {
    pub(crate) ledger: Ledger,
    pub(crate) totals: Totals,
    pub(crate) trouble: Option<Trouble>,
}

/// Why the files cannot be taken for what they say. It lasts until the next [`Ledger::write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// They are older than the anchor.
    Restored,
    /// There is no anchor, or it is older than they are.
    AnchorLost,
}

impl Ledger {
    /// Opens the files of the stock in `dir`, or makes them where there is no stock yet.
    pub(crate) fn open(dir: &Path, keyring: &Keyring, anchors: &Anchors, no_segments: bool) -> Result<Found> {
        let path = dir.join(cursor::NAME);
        let anchored = anchors.find(&keyring.scope)?;
        if !path.exists() {
            if !no_segments {
                let what = "its cursor file is missing, so nobody knows which keys are spent; delete it, and pair anew";
                return Err(Error::damaged(dir, what));
            }
            return Self::create(dir, keyring, anchors, anchored);
        }
        let (cursor, own) = CursorFile::open(&path, keyring)?;
        let Some((anchor, known)) = anchored else {
            // Not written yet: until the key in stock is erased, the anchor stays lost.
            let anchor = anchors.unwritten(&keyring.scope)?;
            let ledger = Self { cursor, anchor, turn: own.turn };
            return Ok(Found { ledger, totals: own.totals, trouble: Some(Trouble::AnchorLost) });
        };
        let found = |turn, totals, trouble| Found { ledger: Self { cursor, anchor, turn }, totals, trouble };
        if own == known {
            return Ok(found(own.turn, own.totals, None));
        }
        if own.turn <= known.turn {
            let totals = known.totals.or_further(own.totals);
            return Ok(found(known.turn, totals, Some(Trouble::Restored)));
        }
        if own.turn - known.turn > 1 {
            return Ok(found(own.turn, own.totals.or_further(known.totals), Some(Trouble::AnchorLost)));
        }
        let found = found(own.turn, own.totals, None);
        found.ledger.anchor.write(own)?; // a crash came between the two
        Ok(found)
    }

    /// The anchor first: a stock with a cursor file has one.
    fn create(dir: &Path, keyring: &Keyring, anchors: &Anchors, anchored: Option<(Anchor, Mark)>) -> Result<Found> {
        let (anchor, mark, trouble) = match anchored {
            // It never had anything, or a crash came between the two.
            Some((anchor, mark)) if mark.totals == Totals::default() => (anchor, mark, None),
            Some((anchor, mark)) => (anchor, mark, Some(Trouble::Restored)),
            None => {
                let mark = Mark { turn: 0, totals: Totals::default() };
                (anchors.add(&keyring.scope, mark)?, mark, None)
            }
        };
        let totals = mark.totals;
        let cursor = CursorFile::create(dir, keyring, mark)?;
        Ok(Found { ledger: Self { cursor, anchor, turn: mark.turn }, totals, trouble })
    }

    /// Writes `totals` durably, in both places.
    pub(crate) fn write(&mut self, totals: Totals) -> Result<()> {
        self.turn += 1;
        let mark = Mark { turn: self.turn, totals };
        self.cursor.write(mark)?;
        self.anchor.write(mark)
    }
}
