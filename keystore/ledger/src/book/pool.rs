//! Blocks come in: each is sealed, cut in two halves and free.

use std::time::Duration;

use vernam_etsi014::KmeId;
use vernam_key::SecretBytes;

use super::runs::Run;
use super::sql::{int, millis, nat32};
use super::{Book, Side, shift};
use crate::database::Value;
use crate::{DepositError, Deposited, Extent, Fault};

const INSERT_BLOCK: &str = "INSERT INTO block (link, number, len, unspent, made_at) VALUES ($1, $2, $3, $4, $5)";
const BLOCK_LENGTH: &str = "SELECT len FROM block WHERE link = $1 AND number = $2";
const NOT_FROM_THE_FUTURE: &str = "UPDATE block SET made_at = $1 WHERE link = $2 AND made_at > $3";
const FIRST_YOUNG: &str = "SELECT number FROM block WHERE link = $1 AND made_at >= $2 ORDER BY made_at, number LIMIT 1";

impl Book<'_> {
    /// Takes a block of the link to `link`. Both ends deposit the same bits under the same number, in ascending order;
    /// numbers may be left out. The half of the KME whose ID sorts first is the first one.
    pub fn deposit(
        &mut self,
        link: &KmeId,
        number: u64,
        bits: &SecretBytes,
        now: Duration,
    ) -> Result<Result<Deposited, DepositError>, Fault> {
        let len = bits.len();
        let possible = 1..=Self::MAX_BLOCK_BYTES;
        let Some(bytes) = u32::try_from(len).ok().filter(|bytes| possible.contains(bytes)) else {
            return Ok(Err(DepositError::Length { number, len }));
        };
        if number > Self::MAX_BLOCK_NUMBER {
            return Ok(Err(DepositError::Number { number }));
        }
        let expected = self.find_link(link)?.map_or(0, |link| link.next_block);
        if number < expected {
            return Ok(Err(DepositError::OutOfOrder { number, expected }));
        }
        let own_first = self.owns_first_half(link);
        let id = self.link_to(link)?;
        let max_pool_bits = self.limits.max_pool_bits;
        let row = self.link(id)?;
        row.next_block = number + 1;
        row.made += u64::from(bytes);
        let full = (row.pooled_own + row.pooled_peer + u64::from(bytes)) * 8 > max_pool_bits;
        let early = self.take_early_voids(id, number)?;
        if full {
            self.link(id)?.voided += u64::from(bytes);
            self.tell_void_extent(id, Extent { block: number, offset: 0, len: bytes })?;
            return Ok(Ok(Deposited::NoRoom));
        }
        self.straighten_ages(id, now)?;
        let place = [id, int(number), bytes.into(), bytes.into(), millis(now)].map(Value::Int);
        self.database.execute(INSERT_BLOCK, &place)?;
        self.insert_chunks(id, number, bits)?;
        let half = bytes.div_ceil(2);
        let sides = if own_first { [Side::Own, Side::Peer] } else { [Side::Peer, Side::Own] };
        for (side, (start, stop)) in sides.into_iter().zip([(0, half), (half, bytes)]) {
            self.insert_run(id, side, number, Run { start, stop })?;
            *self.link(id)?.pooled(side) += u64::from(stop - start);
        }
        for extent in early {
            self.void_free(id, extent)?;
        }
        Ok(Ok(Deposited::Pooled))
    }

    /// Erases what is free of `extent`, in both halves.
    pub(super) fn void_free(&mut self, link: i64, extent: Extent) -> Result<(), Fault> {
        let (block, within) = (extent.block, (extent.offset, super::chunks::end(extent)));
        for side in [Side::Own, Side::Peer] {
            for run in self.runs_in(link, side, block, within)? {
                let (from, to) = (run.start.max(within.0), run.stop.min(within.1));
                self.carve(link, side, block, run, (from, to))?;
                self.erase(link, Extent { block, offset: from, len: to - from })?;
                let row = self.link(link)?;
                let mut pooled = *row.pooled(side);
                shift(&mut pooled, &mut row.voided, (to - from).into())?;
                *row.pooled(side) = pooled;
            }
        }
        Ok(())
    }

    /// The first block that was made at or after `not_before`. Blocks are made in the order of their numbers.
    pub(super) fn first_young_block(
        &mut self,
        link: i64,
        not_before: Duration,
        now: Duration,
    ) -> Result<Option<u64>, Fault> {
        self.straighten_ages(link, now)?;
        let first = self.one(FIRST_YOUNG, &[Value::Int(link), Value::Int(millis(not_before))])?;
        first.map(super::sql::nat).transpose()
    }

    /// No block was made later than now: where the clock was set back, those that seem so are as old as that.
    fn straighten_ages(&mut self, link: i64, now: Duration) -> Result<(), Fault> {
        let now = millis(now);
        self.database.execute(NOT_FROM_THE_FUTURE, &[now, link, now].map(Value::Int))?;
        Ok(())
    }

    /// Where our half of a block lies, if anything is left of the block.
    pub(super) fn own_half(&mut self, link: i64, own_first: bool, block: u64) -> Result<Option<(u32, u32)>, Fault> {
        let Some(len) = self.one(BLOCK_LENGTH, &[link, int(block)].map(Value::Int))? else { return Ok(None) };
        let len = nat32(len)?;
        let half = len.div_ceil(2);
        Ok(Some(if own_first { (0, half) } else { (half, len) }))
    }
}
