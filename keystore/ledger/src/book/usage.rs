//! What each SAE was given, day by day; and a trial write.

use vernam_etsi014::SaeId;

use super::Book;
use super::sql::{int, nat};
use crate::Fault;
use crate::database::Value;

const ADD: &str = "INSERT INTO used_bits (sae, day, bits) VALUES ($1, $2, $3) \
     ON CONFLICT (sae, day) DO UPDATE SET bits = used_bits.bits + excluded.bits RETURNING bits";
const READ: &str = "SELECT bits FROM used_bits WHERE sae = $1 AND day = $2";
const FORGET: &str = "DELETE FROM used_bits WHERE sae = $1 AND (day < $2 OR day > $3)";

/// The row of the table of counters that counts nothing but trial writes.
pub(super) const TOUCHED: &str = "touched";
const TOUCH: &str = "INSERT INTO counter (name, value) VALUES ($1, 0) \
     ON CONFLICT (name) DO UPDATE SET value = CASE WHEN counter.value < 1000000000 THEN counter.value + 1 ELSE 0 END";

/// The most bits in one charge, so that a sum of many still fits.
const MOST: u64 = 1 << 48;

impl Book<'_> {
    /// Adds `bits` to what `sae` was given on `day` (days since the Unix epoch) and returns the day's sum. Days before
    /// the day before are forgotten, and so are days after the next (the clock was wrong then).
    pub fn charge(&mut self, sae: &SaeId, day: u32, bits: u64) -> Result<u64, Fault> {
        let bits = int(bits.min(MOST));
        let sum = self.one(ADD, &[Value::Text(sae.as_str()), Value::Int(day.into()), Value::Int(bits)])?.unwrap_or(0);
        if sum == bits {
            // The first of the day.
            let (oldest, latest) = (i64::from(day) - 1, i64::from(day) + 1);
            self.database.execute(FORGET, &[Value::Text(sae.as_str()), Value::Int(oldest), Value::Int(latest)])?;
        }
        nat(sum)
    }

    /// What `sae` was given on `day`, in bits.
    pub fn used(&mut self, sae: &SaeId, day: u32) -> Result<u64, Fault> {
        nat(self.one(READ, &[Value::Text(sae.as_str()), Value::Int(day.into())])?.unwrap_or(0))
    }

    /// Writes one small row that means nothing: whoever must know whether the ledger can be written, and not only read,
    /// runs this alone.
    pub fn touch(&mut self) -> Result<(), Fault> {
        self.database.execute(TOUCH, &[Value::Text(TOUCHED)]).map(|_one| ())
    }

    /// The one number a query gives, if it gives any.
    pub(super) fn one(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Option<i64>, Fault> {
        let mut one = None;
        self.database.query(sql, values, &mut |row| {
            one = Some(row.int(0)?);
            Ok(())
        })?;
        Ok(one)
    }
}
