//! What the telephone knows of a conversation: where its orders go, its numbers, and how much pad it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use vernam_quic::Connection;
use vernam_session::limits::VOICE_OTP_TAG_LEN;
use vernam_session::{CallTerms, Role};

use crate::peer::Order;

/// A conversation, as the telephone sees it.
pub(crate) struct Line {
    /// Which: a contact's next conversation has another.
    pub(crate) id: u64,
    orders: mpsc::Sender<Order>,
    connection: Connection,
    next_number: u32,
    /// Bytes of outbound key that both sides hold, and of inbound key.
    stock: [Arc<AtomicU64>; 2],
    /// What the words are made of, until they were told.
    verification: Option<[u8; 32]>,
    /// Nothing is heard over it.
    pub(crate) lost: bool,
}

impl Line {
    pub(crate) fn new(
        id: u64,
        role: Role,
        orders: mpsc::Sender<Order>,
        connection: Connection,
        stock: [Arc<AtomicU64>; 2],
    ) -> Self {
        Self { id, orders, connection, next_number: u32::from(role.code()) + 2, stock, verification: None, lost: false }
    }

    /// Both sides proved their key.
    pub(super) fn stand(&mut self, verification: [u8; 32]) {
        self.verification = Some(verification);
    }

    pub(super) fn untold_words(&mut self) -> Option<[u8; 32]> {
        self.verification.take()
    }

    /// A number for a call's voice flows that the other side never uses.
    pub(super) fn new_number(&mut self) -> u32 {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(2);
        number
    }

    /// For how many seconds of talk under one-time pad there is pad in stock, beside `in_hand` packets' worth.
    pub(super) fn seconds_of_pad(&self, terms: CallTerms, in_hand: u64) -> u64 {
        let slot = u64::from(terms.packet_len) + VOICE_OTP_TAG_LEN as u64;
        let frames = 1_000 / u64::from(terms.frame_ms.max(1));
        (self.stock[0].load(Ordering::Relaxed) / slot + in_hand) / frames.max(1)
    }

    /// Bytes of key in stock for the direction that has less.
    pub(super) fn scarce(&self) -> u64 {
        self.stock.iter().map(|stock| stock.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    /// Gives an order. A conversation that takes none is given up.
    pub(super) fn order(&self, order: Order) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.orders.try_send(order) {
            self.connection.close(1, "too many orders wait");
        }
    }
}
