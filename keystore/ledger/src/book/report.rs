//! The latest report of each quantum link, for all processes that share the ledger. What it says is not looked at.

use std::time::Duration;

use vernam_etsi014::KmeId;

use super::Book;
use super::sql::{int, millis, nat};
use crate::database::{Row, Value};
use crate::{Fault, StoredReport};

const SET_REPORT: &str = "UPDATE link SET report_number = $1, report_at = $2, report = $3 WHERE id = $4";

impl StoredReport {
    /// From three columns of a row, the first of them `column`.
    pub(super) fn read(row: &dyn Row, column: usize) -> Result<Option<Self>, Fault> {
        let Some(body) = row.maybe_bytes(column + 2)? else { return Ok(None) };
        let at = Duration::from_millis(nat(row.int(column + 1)?)?);
        Ok(Some(Self { number: nat(row.int(column)?)?, at, body }))
    }
}

impl Book<'_> {
    /// The latest report of `link`, whichever process stored it.
    pub fn report(&mut self, link: &KmeId) -> Result<Option<StoredReport>, Fault> {
        Ok(self.find_link(link)?.and_then(|link| link.report.clone()))
    }

    /// Stores a report of `link` in place of the one before, and returns its number. One that is longer than
    /// [`Self::MAX_REPORT_BYTES`] is a fault.
    pub fn set_report(&mut self, link: &KmeId, body: &[u8], now: Duration) -> Result<u64, Fault> {
        if body.len() > Self::MAX_REPORT_BYTES {
            let (len, most) = (body.len(), Self::MAX_REPORT_BYTES);
            return Err(Fault(format!("a report of a link has {len} bytes; {most} are the most")));
        }
        let id = self.link_to(link)?;
        let row = self.link_by_id(id)?;
        let number = row.report.as_ref().map_or(0, |report| report.number) + 1;
        row.report = Some(StoredReport { number, at: now, body: body.to_vec() });
        let values = [Value::Int(int(number)), Value::Int(millis(now)), Value::Bytes(body), Value::Int(id)];
        self.database.execute(SET_REPORT, &values)?;
        Ok(number)
    }
}
