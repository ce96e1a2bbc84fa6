//! Carries what a key source says into the ledger.

use std::time::Duration;

use vernam_etsi014::KmeId;
use vernam_ledger::{Book, Extent, Unavailable};

use crate::kme::DepositRefused;
use crate::{KeySource, Kme, KmeEvent, LinkReport, LinkState, Settled, SourceEvent};

/// How long to wait before the ledger is tried again.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(kme: &Kme, link: &KmeId, mut source: Box<dyn KeySource>) -> String {
    loop {
        let reason = match source.next().await {
            SourceEvent::Block { number, bits } => match settle(kme.deposit(link, number, bits).await) {
                Ok(settled) => {
                    source.settled(number, settled).await;
                    if settled == Settled::Again {
                        tokio::time::sleep(PAUSE).await;
                    }
                    continue;
                }
                Err(reason) => reason,
            },
            SourceEvent::Void { number } => match void(kme, link, number).await {
                Ok(()) => continue,
                Err(closed) => closed.to_string(),
            },
            SourceEvent::Report(report) => {
                kme.set_link_report(link, report);
                continue;
            }
            SourceEvent::Ended(reason) => reason,
        };
        end(kme, link, &reason);
        return reason;
    }
}

/// What the source is told, or why it is pointless to go on.
fn settle(result: Result<vernam_ledger::Deposited, DepositRefused>) -> Result<Settled, String> {
    match result {
        Ok(_pooled_or_void) => Ok(Settled::Taken),
        Err(DepositRefused::Block(error)) => {
            tracing::warn!(%error, "a block was not taken");
            Ok(Settled::TooLate)
        }
        Err(error @ (DepositRefused::NoSuchLink(_) | DepositRefused::Unavailable(Unavailable::Closed))) => {
            Err(error.to_string())
        }
        Err(DepositRefused::Unavailable(error)) => {
            tracing::warn!(%error, "a block must wait");
            Ok(Settled::Again)
        }
    }
}

/// Voids a whole block. It must not be used, so this is tried until it is durable.
async fn void(kme: &Kme, link: &KmeId, number: u64) -> Result<(), Unavailable> {
    let extent = Extent { block: number, offset: 0, len: Book::MAX_BLOCK_BYTES };
    loop {
        let peer = link.clone();
        match kme.ledger().run(move |book| book.void_extent(&peer, extent)).await {
            Ok(()) => {
                tracing::info!(block = number, %link, "what is left of a block is void: its source takes it back");
                let why = "the source took its block back";
                kme.shared().tell(&KmeEvent::Voided { link: Some(link), keys: 0, why });
                return Ok(());
            }
            Err(Unavailable::Closed) => return Err(Unavailable::Closed),
            Err(error) => {
                tracing::warn!(%error, block = number, "a block cannot be voided yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// No key comes any more. An alarm stands until somebody says otherwise.
fn end(kme: &Kme, link: &KmeId, reason: &str) {
    let report = kme.link_report(link);
    if report.state == LinkState::Up {
        let reason = format!("the source of key has ended: {reason}");
        kme.set_link_report(link, LinkReport { state: LinkState::Down, rate_bps: 0.0, reason, ..report });
    }
}
