//! The books of key: from what the link, the KMEs and the clients each counted for themselves.

use std::collections::BTreeMap;

use vernam_engine::Account;
use vernam_ledger::Accounting;
use vernam_session::Suite;
use vernam_store::StockStatus;

use crate::demo::events::{Person as Who, Suite as ShownSuite};
use crate::demo::summary::{Flow, FlowSpend, Holding, KeyBook};
use crate::demo::world::person::shown;

/// One book for each direction. `made` is the link's own count, of bits for Alice's and for Bob's sending.
pub(super) fn books(made: [u64; 2], ledgers: &[Accounting; 2], accounts: &[Account; 2]) -> Vec<KeyBook> {
    let book = |from: Who| {
        let (own, other) = (from.index(), from.other().index());
        KeyBook {
            from,
            made_bits: made[own],
            in_pool_bits: ledgers[own].pooled_own,
            delivered_bits: ledgers[own].delivered_to_master,
            sender: sender(&accounts[own]),
            // What the receiver's KME still keeps for it.
            receiver: Holding { not_collected_bits: ledgers[other].reserved, ..receiver(&accounts[other]) },
        }
    };
    Who::BOTH.into_iter().map(book).collect()
}

fn sender(account: &Account) -> Holding {
    let mut holding = holding(&account.outbound, account.handshake_outbound, account.outbound_stock.as_ref());
    holding.forfeited_bits += account.lost * 8;
    holding
}

fn receiver(account: &Account) -> Holding {
    holding(&account.inbound, account.handshake_inbound, account.inbound_stock.as_ref())
}

fn holding(spent: &BTreeMap<(&'static str, Suite), u64>, handshake: u64, stock: Option<&StockStatus>) -> Holding {
    let first = FlowSpend { flow: Flow::Handshake, suite: ShownSuite::Otp, bits: handshake * 8 };
    let flows = spent.iter().filter_map(|((purpose, suite), bytes)| {
        let flow = match *purpose {
            "control" => Flow::Control,
            "voice" => Flow::Voice,
            "text" => Flow::Text,
            "file" => Flow::File,
            // A purpose that is not shown would make the sum fail, and so be seen.
            _ => return None,
        };
        Some(FlowSpend { flow, suite: shown(*suite), bits: bytes * 8 })
    });
    Holding {
        spent: std::iter::once(first).chain(flows).collect(),
        forfeited_bits: stock.map_or(0, |stock| stock.forfeited * 8),
        in_stock_bits: stock.map_or(0, |stock| stock.available * 8),
        not_collected_bits: 0,
    }
}
