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
/// Transfers of a contact that are not over, each way.
pub const MAX_TRANSFERS: usize = 16;
/// Key blocks that are kept for a stream that has not arrived yet.
pub const MAX_EARLY_BLOCKS: usize = 16;

/// How long a caller waits for an answer (ITU-T E.181 leaves it to the operator; people give up after a minute).
pub const RING_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a new connection may take to confirm its keys.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a flow waits for the key that it asked for.
pub const KEY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a call waits for its first key where there is none yet: two people who have only just met fill their stocks.
pub const FIRST_KEY_PATIENCE: Duration = Duration::from_secs(20);
/// How long after a no a call asks again for its first key.
pub const FIRST_KEY_RETRY: Duration = Duration::from_secs(1);
/// How long the engine waits for a conversation that does not take its commands.
pub const COMMAND_PATIENCE: Duration = Duration::from_secs(1);
/// How long a conversation may take to say goodbye when the engine ends.
pub const GOODBYE: Duration = Duration::from_secs(5);
/// How long the end of all connections is waited for when the engine has ended. Three round trips are enough for those
/// that live; a caller's that gave up during an outage can linger for QUIC's idle timeout, and has nobody to be told
/// ([`Endpoint::wait_idle`](vernam_quic::Endpoint::wait_idle)).
pub const CLOSING: Duration = Duration::from_secs(1);
/// How long a conversation that is over waits for keys that its source is just giving: they are gone there, and are put
/// into stock for the next one.
pub const LATE_KEYS: Duration = Duration::from_secs(2);
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
/// Before a transfer that went wrong is tried again; doubles each time that nothing more comes of it.
pub const TRANSFER_PAUSE: Duration = Duration::from_millis(500);
/// Doublings of that time.
pub const TRANSFER_DOUBLINGS: u32 = 6;
/// How often it is looked whether a full disk has room again.
pub const ROOM_PAUSE: Duration = Duration::from_secs(2);
/// How long the end of a conversation waits until what came is flushed to the disk.
pub const FLUSH_PATIENCE: Duration = Duration::from_secs(3);
/// Messages about files that a contact may say at once.
pub const FILE_MESSAGES: u32 = 256;
/// One more such message every so often. Whoever says more is hung up on.
pub const FILE_MESSAGE_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of lists of names that are held for offers that nobody has answered yet, all together.
pub const MAX_OPEN_LISTS: u64 = 128 << 20;
/// Names of files that did not come, of which each is told.
pub const MAX_FAILURES_TOLD: usize = 100;
/// How often a contact is sent a byte that it acknowledges while it has files of ours to answer or to take: one that was
/// killed and started anew says at once that it knows nothing of the connection.
pub const FILES_PROBE_PAUSE: Duration = Duration::from_secs(2);
/// Pieces of files, of 64 KiB at most, between the disk's thread and the flow's task.
pub const FILE_PIECES: usize = 8;
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
/// Bytes that filling a stock leaves in a source, for handshakes: four of the least size, ours and the contact's where both
/// draw on one pool. A full stock is of no use to two who cannot meet any more.
pub const KEY_RESERVE: u64 = 2 * HANDSHAKE_KEY as u64;
/// How long a new conversation waits for its handshake's key where the source has too little. Less than
/// [`HANDSHAKE_TIMEOUT`], for which the other side waits.
pub const HANDSHAKE_KEY_PATIENCE: Duration = Duration::from_secs(15);
/// How soon the source is then asked again at the earliest.
pub const HANDSHAKE_KEY_PAUSE: Duration = Duration::from_millis(250);
/// Bytes of the smallest key that is worth announcing, unless the KME has only smaller ones: each costs 20 bytes of
/// control pad.
pub const MIN_STOCK_KEY: u64 = 256;

/// How long nothing may be heard from a contact during a call before its connection is taken for lost.
pub const LOST_AFTER: Duration = Duration::from_secs(3);
/// How often a connection that is taken for lost is probed: it may come back by itself, or by migration.
pub const PROBE_PAUSE: Duration = Duration::from_millis(500);
/// How long the first try to reach a lost contact again may take; the second takes twice as long, and so on up to four
/// times. QUIC repeats its first packet after 1 s.
pub const REDIAL_TRY: Duration = Duration::from_millis(1_500);
/// Before the next try; doubles up to eight times that.
pub const REDIAL_PAUSE: Duration = Duration::from_millis(250);
/// How often it is looked whether this machine's address towards a contact has changed, during a call.
pub const ROUTE_PAUSE: Duration = Duration::from_secs(1);
/// How long a voice flow is still listened to once the one that follows it is heard.
pub const OLD_FLOW_LINGERS: Duration = Duration::from_secs(5);
/// Voice flows of one call that are listened to at once: a change that follows on a change.
pub const MAX_HEARD_FLOWS: usize = 3;
/// Things that may wait for a call's own task: keys and switches, taken before every frame.
pub const MEDIA_INPUTS: usize = 64;
/// Things that may wait for the telephone.
pub const PHONE_NOTES: usize = 1_024;
/// Orders of the telephone that may wait for a conversation.
pub const ORDERS: usize = 256;
/// How long the end of a call's task is waited for: it takes a frame's time, unless a device hangs.
pub const MEDIA_END: Duration = Duration::from_secs(1);
/// How often loss and jitter are told at most, when they have changed. A report costs 25 bytes of control pad, as much
/// as ten milliseconds of voice.
pub const QUALITY_PAUSE: Duration = Duration::from_secs(5);
/// A change of loss worth telling, percent.
pub const QUALITY_STEP_PERCENT: u8 = 3;
/// A change of the mean length of losses worth telling, tenths of a packet.
pub const QUALITY_STEP_BURST: u8 = 10;
/// A change of jitter worth telling, milliseconds.
pub const QUALITY_STEP_MS: u16 = 15;
/// Messages about calls that a contact may say at once; honest people need a few a minute.
pub const CALL_MESSAGES: u32 = 64;
/// One more such message every so often. Whoever says more is hung up on.
pub const CALL_MESSAGE_PAUSE: Duration = Duration::from_millis(250);
/// Calls at once: one that is heard, and others held or ringing.
pub const MAX_CALLS: usize = 8;
/// How long a call waits for a lost connection.
pub const RECONNECT_FOR: Duration = Duration::from_secs(30);
/// Seconds of talk for which there must be pad before a call goes over to one-time pad.
pub const RAISE_SECONDS: u64 = 5;
/// The code with which a connection is closed whose conversation ended properly.
pub(crate) const DONE: u32 = 0;
/// The code with which a connection is closed whose conversation failed.
pub(crate) const FAILED: u32 = 1;
/// The code with which a connection is closed that another one replaces.
pub(crate) const CONNECTED_ANEW: u32 = 3;
/// The code with which a connection is closed because the source gave no key to begin with.
pub(crate) const NO_KEY: u32 = 6;
