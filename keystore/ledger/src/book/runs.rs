//! What is free: runs of bytes of a block, each as long as it can be.

use super::sql::{int, nat32};
use super::{Book, Side};
use crate::database::Value;
use crate::{Extent, Fault};

/// How many runs are read at once.
const PAGE: i64 = 16;

/// A free run of one block: the bytes from `start` to before `stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u32,
    pub(super) stop: u32,
}

const RUNS_FROM: &str = "SELECT start_at, stop_at FROM run \
     WHERE link = $1 AND side = $2 AND block = $3 AND stop_at > $4 ORDER BY stop_at LIMIT $5";
const INSERT_RUN: &str = "INSERT INTO run (link, side, block, stop_at, start_at) VALUES ($1, $2, $3, $4, $5)";
const DELETE_RUN: &str = "DELETE FROM run WHERE link = $1 AND side = $2 AND block = $3 AND stop_at = $4";
const MOVE_START: &str = "UPDATE run SET start_at = $1 WHERE link = $2 AND side = $3 AND block = $4 AND stop_at = $5";
const RUN_ENDING: &str = "SELECT start_at FROM run WHERE link = $1 AND side = $2 AND block = $3 AND stop_at = $4";

impl Book<'_> {
    pub(super) fn insert_run(&mut self, link: i64, side: Side, block: u64, run: Run) -> Result<(), Fault> {
        if run.start < run.stop {
            let values = [link, side.number(), int(block), run.stop.into(), run.start.into()].map(Value::Int);
            self.database.execute(INSERT_RUN, &values)?;
        }
        Ok(())
    }

    /// The free runs that have a byte in `from..to`, in order.
    pub(super) fn runs_in(
        &mut self,
        link: i64,
        side: Side,
        block: u64,
        (from, to): (u32, u32),
    ) -> Result<Vec<Run>, Fault> {
        let mut runs: Vec<Run> = Vec::new();
        let mut past = from;
        let mut page = if from < to { 1 } else { return Ok(runs) }; // one run is the rule
        loop {
            let before = runs.len();
            let mut beyond = false;
            let values = [link, side.number(), int(block), past.into(), page].map(Value::Int);
            self.database.query(RUNS_FROM, &values, &mut |row| {
                let run = Run { start: nat32(row.int(0)?)?, stop: nat32(row.int(1)?)? };
                past = run.stop;
                beyond |= run.start >= to;
                if !beyond {
                    runs.push(run);
                }
                Ok(())
            })?;
            if beyond || past >= to || runs.len() == before {
                return Ok(runs);
            }
            page = PAGE;
        }
    }

    /// The free run that holds all of `extent`.
    pub(super) fn run_around(&mut self, link: i64, side: Side, extent: Extent) -> Result<Option<Run>, Fault> {
        let Some(stop) = extent.offset.checked_add(extent.len) else { return Ok(None) };
        let first = self.runs_in(link, side, extent.block, (extent.offset, extent.offset.saturating_add(1)))?;
        Ok(first.into_iter().next().filter(|run| run.start <= extent.offset && stop <= run.stop))
    }

    /// Takes the bytes `from..to` out of a free run that holds them.
    pub(super) fn carve(
        &mut self,
        link: i64,
        side: Side,
        block: u64,
        run: Run,
        (from, to): (u32, u32),
    ) -> Result<(), Fault> {
        let place = [link, side.number(), int(block), run.stop.into()];
        if to < run.stop {
            // The rest keeps its end.
            let [link, side, block, stop] = place;
            self.database.execute(MOVE_START, &[i64::from(to), link, side, block, stop].map(Value::Int))?;
        } else {
            self.database.execute(DELETE_RUN, &place.map(Value::Int))?;
        }
        self.insert_run(link, side, block, Run { start: run.start, stop: from })
    }

    /// Makes bytes free again and joins them with their neighbours.
    pub(super) fn release(&mut self, link: i64, side: Side, extent: Extent) -> Result<(), Fault> {
        let (block, stop) = (extent.block, super::chunks::end(extent));
        let mut start = extent.offset;
        let before = [link, side.number(), int(block), start.into()].map(Value::Int);
        let mut joined = None;
        self.database.query(RUN_ENDING, &before, &mut |row| {
            joined = Some(nat32(row.int(0)?)?);
            Ok(())
        })?;
        if let Some(joined) = joined {
            self.database.execute(DELETE_RUN, &before)?;
            start = joined;
        }
        let after = self.runs_in(link, side, block, (stop, stop.saturating_add(1)))?;
        if let Some(next) = after.first().filter(|next| next.start == stop) {
            let values = [i64::from(start), link, side.number(), int(block), next.stop.into()].map(Value::Int);
            self.database.execute(MOVE_START, &values)?;
            return Ok(());
        }
        self.insert_run(link, side, block, Run { start, stop })
    }
}
