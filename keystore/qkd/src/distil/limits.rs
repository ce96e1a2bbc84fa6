//! Limits on everything that the far end, or whoever speaks in its name, can influence.

/// The longest block, slots: counts of pulses stay exact as floats.
pub const MAX_BLOCK_SLOTS: f64 = 1e15;

/// The largest `block_bits`: the keys, the Toeplitz seed and its products then stay below some 100 MB.
pub const MAX_BLOCK_BITS: u64 = 1 << 24;

/// The longest message, bytes: the Toeplitz seed of the largest block is 4.2 MB.
pub const MAX_MESSAGE_BYTES: usize = 1 << 23;

/// Most detections in one sifting message; Bob divides a stretch that has more.
pub const MAX_SIFT_DETECTIONS: usize = 1 << 16;

/// Most stretches that Alice remembers, and that Bob keeps waiting. The oldest go first: they are lost for the key, and
/// nothing else.
pub const MAX_STRETCHES: usize = 4096;

/// Most pulses that Alice remembers over all stretches; each takes 9 bytes. The oldest stretches go first.
pub const MAX_REMEMBERED_PULSES: usize = 1 << 24;

/// Most detections that Bob keeps waiting, over all stretches; each takes 16 bytes.
pub const MAX_WAITING_DETECTIONS: usize = 1 << 23;

/// Most questions of error correction in one block. A block of 2^24 bits at 11 % takes some hundreds of rounds.
pub const MAX_ASKS: u32 = 50_000;

/// Most messages waiting to be taken with `poll_message`. One that does not fit is lost, as on a bad line.
pub const MAX_OUTBOX: usize = 64;

/// Most events waiting to be taken with `poll_event`. Until there is room again, messages are lost.
pub const MAX_EVENTS: usize = 256;

/// How often Bob says again that he has a block before he gives it up.
pub const MAX_CONFIRM_REPEATS: u32 = 3;

/// The shortest start-up secret, bytes: two hash keys and 62 pads.
pub const MIN_AUTH_KEY_BYTES: usize = 1024;

/// The longest start-up secret that is used, bytes.
pub const MAX_AUTH_KEY_BYTES: usize = 1 << 20;
