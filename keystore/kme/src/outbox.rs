//! Tells a peer what the ledger says it must still be told, in order, until it has heard it.

use vernam_etsi014::{ClientError, KmeId};
use vernam_ledger::{Message, Outgoing, Unavailable};

use crate::desk::Desk;
use crate::kme::Shared;
use crate::peer::Peer;

/// The most messages that are read at once.
const BATCH: u32 = 512;
/// The most keys and positions in one call.
const MOST_PIECES: usize = 8_192;

/// The peer has not heard everything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unheard {
    #[error(transparent)]
    Ledger(#[from] Unavailable),
    #[error(transparent)]
    Peer(#[from] ClientError),
}

/// Sends until the outbox of `link` is empty. One at a time: holds the desk's `sending`.
pub(crate) async fn empty(shared: &Shared, link: &KmeId, peer: &Peer, desk: &Desk) -> Result<(), Unheard> {
    let _one_at_a_time = desk.sending.lock().await;
    loop {
        let doubts = desk.doubts();
        let of = link.clone();
        let mut waiting = shared.ledger.run(move |book| book.outbox(&of, BATCH)).await?;
        if waiting.is_empty() {
            desk.settle(doubts);
            return Ok(());
        }
        while !waiting.is_empty() {
            let rest = waiting.split_off(length_of_call(&waiting));
            say(shared, peer, desk, waiting).await?;
            waiting = rest;
        }
    }
}

/// How many of the first messages go into one call: those of one kind, up to a size.
fn length_of_call(messages: &[Outgoing]) -> usize {
    let is_ack = |outgoing: &Outgoing| matches!(outgoing.message, Message::Delivered(_));
    let first = messages.first().map(is_ack);
    let mut pieces = 0;
    let fits = |outgoing: &&Outgoing| {
        pieces += pieces_of(&outgoing.message);
        Some(is_ack(outgoing)) == first && pieces <= MOST_PIECES
    };
    messages.iter().take_while(fits).count().max(1)
}

fn pieces_of(message: &Message) -> usize {
    match message {
        Message::Delivered(ids) => ids.len(),
        Message::Void(keys) => keys.iter().map(|key| 1 + key.extents.len()).sum(),
        Message::VoidExtent(_) => 1,
    }
}

/// One call. What the peer calls malformed it will call malformed again: then each message is sent alone, and the one
/// that is not understood is dropped, so that it does not keep the others.
async fn say(shared: &Shared, peer: &Peer, desk: &Desk, messages: Vec<Outgoing>) -> Result<(), Unheard> {
    match peer.tell(messages.iter().map(|outgoing| &outgoing.message)).await {
        Err(ClientError::Refused { status: 400, message, .. }) if messages.len() == 1 => {
            tracing::warn!(%message, "the peer KME does not understand a message, which is dropped; same versions?");
            desk.drop_message();
        }
        Err(ClientError::Refused { status: 400, .. }) => {
            for one in messages {
                Box::pin(say(shared, peer, desk, vec![one])).await?;
            }
            return Ok(());
        }
        told => told?,
    }
    let heard: Vec<i64> = messages.iter().map(|outgoing| outgoing.seq).collect();
    Ok(shared.ledger.run(move |book| book.heard(&heard)).await?)
}
