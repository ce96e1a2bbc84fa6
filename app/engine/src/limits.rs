//! Every bound of the engine, and every pace that is a choice, in one place.

use std::time::Duration;

/// Commands that may wait for one engine or one conversation.
pub const COMMANDS: usize = 64;
/// Events that may wait for the application.
pub const EVENTS: usize = 1_024;
/// Things that may wait for one conversation's task.
pub const INPUTS: usize = 256;
/// Key blocks that may wait for one flow; one request a flow is under way, so more never come.
pub const FLOW_KEYS: usize = 4;
/// Transfers at once, each way.
pub const MAX_TRANSFERS: usize = 16;
/// Key blocks that are kept for a stream that has not arrived yet.
pub const MAX_EARLY_BLOCKS: usize = 16;

/// How long a caller waits for an answer (ITU-T E.181 leaves it to the operator; people give up after a minute).
pub const RING_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a new connection may take to confirm its keys.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a flow waits for the key that it asked for.
pub const KEY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the engine waits for a conversation that does not take its commands.
pub const COMMAND_PATIENCE: Duration = Duration::from_secs(1);
/// How long a conversation may take to say goodbye when the engine ends.
pub const GOODBYE: Duration = Duration::from_secs(5);
/// How long whoever said goodbye waits for the other side to close the connection.
pub const LAST_WORDS: Duration = Duration::from_secs(2);
/// Two people who dial each other within this time meant the same conversation; later, the newer one replaces one that
/// is probably dead.
pub const CROSSING: Duration = Duration::from_secs(5);
/// How long an established conversation that a contact seems to have left is probed before a new connection replaces it.
pub const PROBE: Duration = Duration::from_millis(1_600);
/// Probes in that time.
pub const PROBES: u32 = 4;
/// Waiting time after a contact's connections that proved no key, from the second on; it doubles with each, up to 32 s.
/// Each costs us a handshake's worth of key.
pub const HANDSHAKE_PAUSE: Duration = Duration::from_millis(500);
/// Doublings of that time.
pub const HANDSHAKE_DOUBLINGS: u32 = 6;
/// Connections for files that wait to be named by the control stream.
pub const LANE_CANDIDATES: usize = 2;
/// Records that may wait for a control stream that the other side does not read.
pub const CONTROL_RECORDS: usize = 512;
/// How long a transfer may stand still: accepted and not begun, stalled, or sent and not confirmed.
pub const TRANSFER_PATIENCE: Duration = Duration::from_mins(1);
/// Before the files' connection is dialled again.
pub const FILES_LANE_PAUSE: Duration = Duration::from_secs(1);
/// How often gauges are reported, stock is filled and old keys are replaced.
pub const TICK: Duration = Duration::from_millis(200);
/// How often the key source is asked how it stands, where nothing else makes it worth asking.
pub const SOURCE_POLL: Duration = Duration::from_secs(1);
/// How long to wait after a key source said no, unless it says how long.
pub const SOURCE_PAUSE: Duration = Duration::from_secs(1);

/// Voice packets in one block of one-time pad: two seconds at 20 ms, the most that a crash forfeits.
pub const VOICE_BLOCK_PACKETS: usize = 100;
/// Packets left at which the next voice block is asked for.
pub const VOICE_REFILL_BELOW: usize = 75;
/// Bytes of one block of one-time pad for a file.
pub const FILE_BLOCK: usize = 4 << 20;
/// Bytes of one block of one-time pad for text.
pub const TEXT_BLOCK: usize = 1_024;
/// Bytes of the control stream's first pad, with the confirmation's key.
pub const HANDSHAKE_KEY: u32 = 8 * 1_024;
/// The least of it that makes sense, where a KME's keys are short.
pub const MIN_HANDSHAKE_KEY: u32 = 4 * 1_024;
/// Bytes of the smallest key that is worth announcing, unless the KME has only smaller ones: each costs 20 bytes of
/// control pad.
pub const MIN_STOCK_KEY: u64 = 256;

/// Seconds of talk left at which people are told.
pub const TALK_WARNINGS: [u64; 4] = [300, 60, 30, 10];
