//! Where the bits of a cut come from: the oldest free bytes of our half that can be read.

use super::runs::Run;
use super::sql::{int, nat, nat32};
use super::{Book, Side};
use crate::database::Value;
use crate::{Extent, Fault};

/// How many lost chunks one cut passes over before it is short; the next cut goes on from there.
const MOST_LOST: u32 = 64;

/// How many runs are read at once.
const PAGE: i64 = 8;

const OUR_RUNS: &str = "SELECT block, stop_at, start_at FROM run \
     WHERE link = $1 AND side = 0 AND (block, stop_at) > ($2, $3) ORDER BY block, stop_at LIMIT $4";

/// Bytes to take, each from the front of a free run.
pub(super) struct Plan {
    pub(super) link: i64,
    /// Bytes found; fewer than were wanted if there are no more.
    pub(super) found: u64,
    pieces: Vec<(Extent, Run)>,
    /// The first piece that is not given out yet, and how much of it is.
    next: (usize, u32),
}

impl Book<'_> {
    /// Finds up to `wanted` bytes in blocks numbered `from` and higher. Lost chunks on the way become void; nothing else
    /// changes.
    pub(super) fn plan(&mut self, link: i64, wanted: u64, from: u64) -> Result<Plan, Fault> {
        let mut plan = Plan { link, found: 0, pieces: Vec::new(), next: (0, 0) };
        let mut cursor = (int(from), -1);
        let (mut page, mut lost) = (1, 0);
        while plan.found < wanted {
            let mut runs = Vec::new();
            self.database.query(OUR_RUNS, &[link, cursor.0, cursor.1, page].map(Value::Int), &mut |row| {
                cursor = (row.int(0)?, row.int(1)?);
                runs.push((nat(cursor.0)?, Run { start: nat32(row.int(2)?)?, stop: nat32(cursor.1)? }));
                Ok(())
            })?;
            if runs.is_empty() {
                break;
            }
            for (block, run) in runs {
                if plan.found >= wanted || !self.plan_run(&mut plan, wanted, block, run, &mut lost)? {
                    return Ok(plan);
                }
            }
            page = PAGE;
        }
        Ok(plan)
    }

    /// Adds what is wanted of one run; `false` when too many chunks are lost.
    fn plan_run(
        &mut self,
        plan: &mut Plan,
        wanted: u64,
        block: u64,
        mut run: Run,
        lost: &mut u32,
    ) -> Result<bool, Fault> {
        while plan.found < wanted && run.start < run.stop {
            let room = run.stop - run.start;
            let len = u32::try_from(wanted - plan.found).map_or(room, |left| left.min(room));
            let extent = Extent { block, offset: run.start, len };
            let Some(bad) = self.first_lost(plan.link, extent)? else {
                plan.add(extent, run);
                return Ok(true);
            };
            let stop = self.void_lost(plan.link, bad, run)?;
            let before = Extent { len: bad.offset - run.start, ..extent };
            if before.len > 0 {
                plan.add(before, Run { start: run.start, stop: bad.offset });
            }
            run.start = stop;
            *lost += 1;
            if *lost >= MOST_LOST {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes what was planned out of the pool: from here on it is reserved.
    pub(super) fn carry_out(&mut self, plan: &Plan) -> Result<(), Fault> {
        for (extent, run) in &plan.pieces {
            self.carve(plan.link, Side::Own, extent.block, *run, (extent.offset, super::chunks::end(*extent)))?;
        }
        let row = self.link(plan.link)?;
        super::shift(&mut row.pooled_own, &mut row.reserved, plan.found)
    }
}

impl Plan {
    fn add(&mut self, extent: Extent, run: Run) {
        self.found += u64::from(extent.len);
        self.pieces.push((extent, run));
    }

    /// The next `bytes` bytes of the plan; fewer when it ends.
    pub(super) fn take(&mut self, bytes: u32) -> Vec<Extent> {
        let mut extents = Vec::new();
        let mut left = bytes;
        while left > 0
            && let Some((piece, _)) = self.pieces.get(self.next.0)
        {
            let len = left.min(piece.len - self.next.1);
            extents.push(Extent { block: piece.block, offset: piece.offset + self.next.1, len });
            left -= len;
            self.next.1 += len;
            if self.next.1 == piece.len {
                self.next = (self.next.0 + 1, 0);
            }
        }
        extents
    }
}
