//! Every bound on what a stranger or a peer can make us hold, and every fixed size of the wire, in one place.

use std::time::Duration;

/// Version of the protocol spoken, as it stands in `Hello`.
pub const VERSION: u16 = 1;

/// Bytes of a one-time-pad hash key: one POLYVAL key at the front of every key block.
pub const HASH_KEY_LEN: usize = 16;
/// Bytes of a tag on control, text and file records, and on AEAD voice.
pub const TAG_LEN: usize = 16;
/// Bytes of a tag on a voice datagram under one-time pad; the bound is proved at [`crate::suite::OtpMac`].
pub const VOICE_OTP_TAG_LEN: usize = 8;
/// Bytes of input keying material for one AEAD key.
pub const AEAD_SEED_LEN: usize = 32;
/// The same as an offer of key states it.
pub(crate) const AEAD_BLOCK_LEN: u32 = 32;
/// Bytes of key that the confirmation uses: a hash key and a tag mask.
pub const CONFIRM_KEY_LEN: usize = HASH_KEY_LEN + TAG_LEN;

/// Bytes of the header of a record on a stream.
pub const RECORD_HEADER_LEN: usize = 17;
/// Bytes of the header of a voice datagram.
pub const VOICE_HEADER_LEN: usize = 13;
/// Bytes of the header that opens every unidirectional stream: purpose and flow number.
pub const STREAM_HEADER_LEN: usize = 5;

/// Longest plaintext of one record. Larger files are cut.
pub const MAX_RECORD_PLAINTEXT: usize = 64 * 1024;
/// Longest plaintext of a control record.
pub const MAX_CONTROL_PLAINTEXT: usize = 8 * 1024;
/// Longest text message, bytes of UTF-8. Longer ones are files.
pub const MAX_TEXT: usize = 16 * 1024;
/// Longest Opus packet in a datagram; with header and tag it stays below QUIC's smallest datagram.
pub const MAX_VOICE_FRAME: usize = 1_024;
/// Longest `Hello`.
pub const MAX_HELLO: usize = 4 * 1024;
/// Keys named in one `Hello`: a KME that gives only 256-bit keys needs this many for a small control pad.
pub const MAX_HANDSHAKE_KEYS: usize = 128;
/// Longest single key, bytes (ETSI GS QKD 014 leaves it to the KME; ours gives 8,192).
pub const MAX_KEY_LEN: usize = 1 << 20;
/// Bytes of a key's name and length in an announcement.
pub const ANNOUNCED_KEY_LEN: usize = 20;
/// Bytes of all keys of one `Hello` or one announcement together: what a peer can make us fetch and hold at once.
pub const MAX_NAMED_BYTES: u64 = 16 << 20;
/// Keys named in one announcement of stock.
pub const MAX_ANNOUNCED_KEYS: usize = 128;
/// Longest key block that one offer may name, bytes.
pub const MAX_BLOCK_LEN: u32 = 16 << 20;
/// Longest name of a person on the wire, bytes of UTF-8.
pub const MAX_NAME: usize = 255;
/// Files and folders that one offer may hold.
pub const MAX_FILE_ENTRIES: u64 = 1_000_000;
/// Bytes of the list that names them.
pub const MAX_FILE_LIST: u32 = 128 << 20;
/// Bytes of all files of an offer.
pub const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// Offers of key that may wait for an answer at once, each way.
pub const MAX_PENDING_OFFERS: usize = 64;
/// Control messages that wait for pad before the session gives up.
pub const MAX_QUEUED_CONTROL: usize = 256;
/// Refused records after which a flow is ended: bounds the forger's tries against one key block.
pub const MAX_REFUSALS: u64 = 1_024;
/// How far behind the newest AEAD voice datagram an older one is still accepted.
pub const REPLAY_WINDOW: u64 = 1_024;
/// Generations of key an opener holds at once: the one in use, the one before (late datagrams) and those ahead.
pub const MAX_GENERATIONS: usize = 8;
/// Key blocks that a sealer keeps ready beside the one in use. With that one and the one before it, which late datagrams
/// need, the opener holds them all.
pub const MAX_WAITING_BLOCKS: usize = MAX_GENERATIONS - 2;

/// Age at which an AEAD key is replaced.
pub const AEAD_MAX_AGE: Duration = Duration::from_mins(1);
/// Bytes sealed under one AEAD key before it is replaced: well inside the bound of RFC 8446, section 5.5, for AES-GCM.
pub const AEAD_MAX_BYTES: u64 = 1 << 34;

/// Smallest one-time-pad control block of a handshake, after the confirmation's share.
pub const MIN_CONTROL_PAD: usize = 1_024;
/// Control pad that only messages about key may use, so that an empty stock can always be filled again.
pub const CONTROL_RESERVE: usize = 512;
/// The part of the reserve that only key for the control stream itself may use, and last words.
pub const CONTROL_KEY_RESERVE: usize = 256;
/// The part of the reserve that is left for a hang-up and the end of the session, so that they can always be said.
pub const CONTROL_LAST_WORDS: usize = 128;
/// Control pad left at which the session asks for the next block.
pub const CONTROL_REFILL_BELOW: usize = 4 * 1024;
/// Bytes of the control blocks asked for from the stock.
pub const CONTROL_BLOCK_LEN: u32 = 8 * 1024;
/// The least worth asking for, where the stock has no more.
pub const CONTROL_LEAST_BLOCK_LEN: u32 = 512;
