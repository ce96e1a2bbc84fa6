//! A contact's two stocks, off the async threads: each call writes to disk before it returns.

use std::sync::{Arc, Mutex, PoisonError};

use vernam_key::{Inbound, Outbound};
use vernam_session::{Alignment, StockReach};
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

    pub(crate) async fn align(&self, outbound: Alignment, inbound: Alignment) -> vernam_store::Result<()> {
        self.with(move |pair| {
            keep(pair.outbound.as_mut(), outbound)?;
            keep(pair.inbound.as_mut(), inbound)?;
            pair.outbound.note_matched(outbound.keep_to)?;
            pair.inbound.note_matched(inbound.keep_to)
        })
        .await
    }
}

fn keep<D: vernam_key::Direction>(stock: &mut dyn Stock<D>, to: Alignment) -> vernam_store::Result<()> {
    stock.discard_from(to.keep_to)?;
    stock.advance_end_to(to.end)?;
    if stock.status().cursor < to.cursor {
        stock.discard_before(to.cursor)?;
    }
    Ok(())
}
