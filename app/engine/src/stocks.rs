//! A contact's two stocks, off the async threads: each call writes to disk before it returns.

use std::sync::{Arc, Mutex, PoisonError};

use vernam_key::{Inbound, Outbound};
use vernam_session::limits::MAX_ANNOUNCED_KEYS;
use vernam_session::{Alignment, AnnouncedKey, StockReach};
use vernam_store::{Stock, StockStatus};

/// Opens a contact's stocks: durable ones from a [`vernam_store::Store`], or in memory for tests.
pub type OpenStocks = Box<dyn Fn(&str) -> vernam_store::Result<StockPair> + Send + Sync>;

/// The stock for what we send to a contact, and the stock for what the contact sends.
pub struct StockPair {
    /// For what we send.
    pub outbound: Box<dyn Stock<Outbound>>,
    /// For what the contact sends.
    pub inbound: Box<dyn Stock<Inbound>>,
}

/// A shared handle to a [`StockPair`].
#[derive(Clone)]
pub(crate) struct Stocks(Arc<Mutex<StockPair>>);

impl Stocks {
    pub(crate) fn new(pair: StockPair) -> Self {
        Self(Arc::new(Mutex::new(pair)))
    }

    /// Runs `act` on a thread that may block.
    pub(crate) async fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut StockPair) -> T + Send + 'static) -> T {
        let shared = Arc::clone(&self.0);
        let run = move || act(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(run).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// What the person must be told of the stocks, each once.
    pub(crate) fn notices(&self) -> Vec<String> {
        let mut pair = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let notices = [pair.outbound.take_notice(), pair.inbound.take_notice()];
        notices.into_iter().flatten().map(|notice| notice.to_string()).collect()
    }

    pub(crate) fn status(&self) -> (StockStatus, StockStatus) {
        let pair = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (pair.outbound.status(), pair.inbound.status())
    }

    pub(crate) fn reach(&self) -> (StockReach, StockReach) {
        let (outbound, inbound) = self.status();
        let reach = |status: StockStatus| StockReach { cursor: status.cursor, end: status.end };
        (reach(outbound), reach(inbound))
    }

    /// Brings both stocks to where the peer has them too, and gives what of the outbound one is to be announced again.
    pub(crate) async fn align(&self, outbound: Alignment, inbound: Alignment) -> vernam_store::Result<Vec<Unmatched>> {
        self.with(move |pair| {
            let unmatched = unmatched(pair.outbound.as_ref(), outbound);
            let keep_to = unmatched.last().map_or(outbound.keep_to, Unmatched::end);
            keep(pair.outbound.as_mut(), Alignment { keep_to, ..outbound })?;
            keep(pair.inbound.as_mut(), inbound)?;
            pair.outbound.note_matched(outbound.keep_to)?;
            pair.inbound.note_matched(inbound.keep_to)?;
            Ok(unmatched)
        })
        .await
    }
}

/// Keys of the outbound stock, one behind the other, that the peer never had: the last conversation ended before it got
/// them from its KME.
pub(crate) struct Unmatched {
    /// Position of the first one.
    pub(crate) start: u64,
    /// The keys in order.
    pub(crate) keys: Vec<AnnouncedKey>,
}

impl Unmatched {
    /// Position after the last one.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.keys.iter().map(|key| u64::from(key.len)).sum::<u64>()
    }
}

/// What can be announced again. Where the peer is known to have had key from `keep_to` on, it has lost its stock, and a
/// KME gives nothing twice: then nothing is.
fn unmatched(stock: &dyn Stock<Outbound>, to: Alignment) -> Vec<Unmatched> {
    let mut runs: Vec<Unmatched> = Vec::new();
    if stock.matched() > to.keep_to {
        return runs;
    }
    let keys = stock.keys_from(to.keep_to);
    // A key that the peer has half of is none that a KME knows.
    if keys.first().is_some_and(|key| key.start < to.keep_to) {
        return runs;
    }
    for key in keys.into_iter().take(MAX_ANNOUNCED_KEYS) {
        let Ok(len) = u32::try_from(key.len) else { break };
        let named = AnnouncedKey { id: key.id, len };
        match runs.last_mut().filter(|run| run.end() == key.start) {
            Some(run) => run.keys.push(named),
            None => runs.push(Unmatched { start: key.start, keys: vec![named] }),
        }
    }
    runs
}

/// Bytes of the outbound stock that can be taken in one run and that the peer has too, if it has all before `through`.
pub(crate) fn usable_run(stock: &dyn Stock<Outbound>, through: u64) -> u64 {
    let status = stock.status();
    // Where the cursor stands in a gap, the run begins behind it.
    let has_gaps = status.end - status.cursor != status.available;
    let first = if has_gaps { stock.keys_from(status.cursor).first().map(|key| key.start) } else { None };
    let start = first.unwrap_or(0).max(status.cursor);
    through.saturating_sub(start).min(status.contiguous)
}

fn keep<D: vernam_key::Direction>(stock: &mut dyn Stock<D>, to: Alignment) -> vernam_store::Result<()> {
    stock.discard_from(to.keep_to)?;
    stock.advance_end_to(to.end)?;
    if stock.status().cursor < to.cursor {
        stock.discard_before(to.cursor)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vernam_key::{KeyId, SecretBytes};
    use vernam_store::{MemoryStock, SpentOn, StockKey};

    use super::*;

    fn keys(names: std::ops::Range<u8>) -> Vec<StockKey> {
        let key = |name| StockKey { id: KeyId::from_bytes([name; 16]), bytes: SecretBytes::from_vec(vec![name; 100]) };
        names.map(key).collect()
    }

    fn stocks() -> Stocks {
        let pair = StockPair {
            outbound: Box::new(MemoryStock::<Outbound>::new()),
            inbound: Box::new(MemoryStock::<Inbound>::new()),
        };
        Stocks::new(pair)
    }

    const EMPTY: StockReach = StockReach { cursor: 0, end: 0 };

    /// The outbound stock as it is when the peer's inbound one reaches so far: what is announced again, by start and
    /// number of keys.
    async fn meets(stocks: &Stocks, theirs: StockReach) -> Vec<(u64, usize)> {
        let outbound = Alignment::of_outbound(stocks.reach().0, theirs);
        let inbound = Alignment::of_inbound(EMPTY, EMPTY);
        let runs = stocks.align(outbound, inbound).await.unwrap();
        runs.iter().map(|run| (run.start, run.keys.len())).collect()
    }

    #[tokio::test]
    async fn key_that_the_peer_never_had_is_kept_and_announced_again() {
        let stocks = stocks();
        stocks.with(|pair| pair.outbound.append(keys(1..4)).map(drop)).await.unwrap();
        assert_eq!(meets(&stocks, StockReach { cursor: 0, end: 100 }).await, [(100, 2)]);
        let (outbound, _) = stocks.status();
        assert_eq!((outbound.available, outbound.forfeited), (300, 0), "nothing is lost");
        // The peer gets them, and has more than it ever said it has.
        stocks.with(|pair| pair.outbound.note_matched(300)).await.unwrap();
        assert_eq!(meets(&stocks, StockReach { cursor: 0, end: 300 }).await, []);
        // It has lost its stock: its KME gave all of this once.
        assert_eq!(meets(&stocks, StockReach { cursor: 50, end: 100 }).await, []);
        assert_eq!(stocks.status().0.available, 50);
    }

    #[tokio::test]
    async fn keys_behind_a_gap_are_announced_from_where_they_are_and_halves_are_not() {
        let stocks = stocks();
        let grow = |pair: &mut StockPair| {
            pair.outbound.append(keys(1..3))?;
            pair.outbound.hole(40)?;
            pair.outbound.append(keys(3..5)).map(drop)
        };
        stocks.with(grow).await.unwrap();
        assert_eq!(meets(&stocks, EMPTY).await, [(0, 2), (240, 2)]);
        assert_eq!(meets(&stocks, StockReach { cursor: 0, end: 150 }).await, [], "half of a key is there");
        assert_eq!(stocks.status().0.available, 150);
    }

    #[tokio::test]
    async fn what_the_peer_has_not_is_not_taken_from_behind_a_gap() {
        let stocks = stocks();
        let (first, second) = stocks
            .with(|pair| -> vernam_store::Result<(u64, u64)> {
                pair.outbound.hole(200)?;
                pair.outbound.append(keys(1..5))?;
                let first = usable_run(pair.outbound.as_ref(), 300);
                pair.outbound.take(100, SpentOn::Text)?;
                Ok((first, usable_run(pair.outbound.as_ref(), 350)))
            })
            .await
            .unwrap();
        assert_eq!((first, second), (100, 50));
    }
}
