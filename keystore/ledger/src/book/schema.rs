//! The tables of the ledger, the same in both databases.

/// The version of the schema; it changes whenever a table or the meaning of a column does.
pub(crate) const VERSION: i64 = 1;

/// The DDL, with `bytes` as the name of the type of byte strings, and `clustered` after a table that is best kept in the
/// order of its key (its rows are small). Safe to run again.
///
/// Lengths and tallies are in bytes, instants in milliseconds since the Unix epoch, offsets count from the block's start.
///
/// * `run`: what is free, as the bytes `start_at..stop_at` of a block. Keyed by its end, so that a cut from the front
///   changes no key. Neighbours are always joined. Side 0 is ours, side 1 the peer's.
/// * `chunk`: the sealed bytes; `unspent` of them are not erased yet, and `block.unspent` sums that up.
/// * `reservation`: `state` is 0 cut, 1 delivered and kept for slaves here, 2 reserved for slaves here, 3 confirmed.
///   `live` counts its rows in `waiting_key`.
/// * `waiting_of`: how many rows of `waiting_key` each master has on each link; no row where it has none.
/// * `link.report`: what was last said of the quantum link, in the words of the KME, as the `report_number`th report.
/// * `outbox`: `kind` is 0 delivered, 1 void keys, 2 void bytes.
pub(crate) fn schema(bytes: &str, clustered: &str) -> String {
    format!(
        "
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value {bytes} NOT NULL);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS link (
    id BIGINT PRIMARY KEY, peer TEXT NOT NULL UNIQUE, next_block BIGINT NOT NULL,
    made BIGINT NOT NULL, pooled_own BIGINT NOT NULL, pooled_peer BIGINT NOT NULL, reserved BIGINT NOT NULL,
    to_master BIGINT NOT NULL, to_slave BIGINT NOT NULL, relayed BIGINT NOT NULL, voided BIGINT NOT NULL,
    waiting_keys BIGINT NOT NULL, early_voids BIGINT NOT NULL,
    outbox_delivered BIGINT NOT NULL, outbox_voids BIGINT NOT NULL,
    report_number BIGINT NOT NULL DEFAULT 0, report_at BIGINT NOT NULL DEFAULT 0, report {bytes}
);
CREATE TABLE IF NOT EXISTS block (
    link BIGINT NOT NULL, number BIGINT NOT NULL, len BIGINT NOT NULL, unspent BIGINT NOT NULL, made_at BIGINT NOT NULL,
    PRIMARY KEY (link, number)
){clustered};
CREATE INDEX IF NOT EXISTS block_by_age ON block (link, made_at, number);
CREATE TABLE IF NOT EXISTS chunk (
    link BIGINT NOT NULL, block BIGINT NOT NULL, start_at BIGINT NOT NULL,
    len BIGINT NOT NULL, unspent BIGINT NOT NULL, sealed {bytes} NOT NULL,
    PRIMARY KEY (link, block, start_at)
);
CREATE TABLE IF NOT EXISTS run (
    link BIGINT NOT NULL, side BIGINT NOT NULL, block BIGINT NOT NULL,
    stop_at BIGINT NOT NULL, start_at BIGINT NOT NULL,
    PRIMARY KEY (link, side, block, stop_at)
){clustered};
CREATE TABLE IF NOT EXISTS reservation (
    id BIGINT PRIMARY KEY, link BIGINT NOT NULL, state BIGINT NOT NULL, deadline BIGINT NOT NULL,
    master TEXT NOT NULL, slaves {bytes} NOT NULL, remote BIGINT NOT NULL, live BIGINT NOT NULL,
    keys {bytes} NOT NULL, relays {bytes} NOT NULL
);
CREATE INDEX IF NOT EXISTS reservation_by_deadline ON reservation (state, deadline);
CREATE TABLE IF NOT EXISTS waiting_key (
    id {bytes} PRIMARY KEY, reservation BIGINT NOT NULL, extents {bytes} NOT NULL, wrapped {bytes},
    waiting {bytes} NOT NULL
){clustered};
CREATE TABLE IF NOT EXISTS waiting_of (
    link BIGINT NOT NULL, master TEXT NOT NULL, keys BIGINT NOT NULL,
    PRIMARY KEY (link, master)
){clustered};
CREATE TABLE IF NOT EXISTS early_void (
    link BIGINT NOT NULL, block BIGINT NOT NULL, start_at BIGINT NOT NULL, len BIGINT NOT NULL,
    PRIMARY KEY (link, block, start_at, len)
){clustered};
CREATE TABLE IF NOT EXISTS outbox (
    seq BIGINT PRIMARY KEY, link BIGINT NOT NULL, kind BIGINT NOT NULL, body {bytes} NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_by_link ON outbox (link, seq);
CREATE INDEX IF NOT EXISTS outbox_by_kind ON outbox (link, kind, seq);
CREATE TABLE IF NOT EXISTS used_bits (
    sae TEXT NOT NULL, day BIGINT NOT NULL, bits BIGINT NOT NULL,
    PRIMARY KEY (sae, day)
){clustered};
"
    )
}
