//! Every bound on what the far end, or a stranger, can make an end hold or wait for.

use std::time::Duration;

/// The longest control frame, bytes. The longest is the greeting, which holds the whole device profile in words.
pub(crate) const MAX_CONTROL_FRAME: usize = 16 << 10;

/// The longest classical frame, bytes.
pub(crate) const MAX_CLASSICAL_FRAME: usize = vernam_qkd::distil::limits::MAX_MESSAGE_BYTES;

/// The longest optical frame, bytes. A click takes two to three in it, and some ten in memory.
pub(crate) const MAX_OPTICAL_FRAME: usize = 4 << 20;

/// Clicks that the light of one stretch is expected to hold at most; on a fast link stretches are cut shorter than
/// asked for. Keeps frames far below [`MAX_OPTICAL_FRAME`], whatever scatter and an eavesdropper add.
pub(crate) const CLICKS_PER_STRETCH: f64 = 100_000.0;

/// The most stretches of light that the far end has not yet answered.
pub(crate) const STRETCHES_UNDER_WAY: usize = 4;

/// How many starts one copy of the start-up secret may be further than the other. An end goes ahead by one when its
/// process ends in the middle of a greeting; by many only if somebody put an old copy back.
pub(crate) const MAX_STARTS_AHEAD: u64 = 16;

/// After so many inputs that cannot be, without a block in between, a run is ended and the next one begins.
pub(crate) const MAX_MALFORMED: u32 = 3;

/// The longest stretch of light.
pub(crate) const LONGEST_STRETCH: Duration = Duration::from_secs(1);

/// Frames read from the connection, but not yet looked at.
pub(crate) const FRAMES_IN: usize = 8;

/// Frames waiting to be written.
pub(crate) const FRAMES_OUT: usize = 8;

/// Classical messages that wait for their turn to be written. While there are as many, nothing more is read.
pub(crate) const MESSAGES_OUT: usize = 64;

/// Events that the owner of an end has not yet taken. When there are as many, the link stands still until he does.
pub(crate) const EVENTS: usize = 256;

/// Wishes of an end's owner that it has not yet seen.
pub(crate) const COMMANDS: usize = 16;

/// The most connections that are in their TLS handshake at once.
pub(crate) const HANDSHAKES: usize = 8;

/// How long a TCP connection, a TLS handshake and each word of the greeting may take.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// A connection over which nothing was to be said for so long gets a sign of life.
pub(crate) const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// A connection is lost if not a byte came for so long.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// A connection is lost if the far end took not a byte for so long. More than [`SILENCE`], for an end that distils a
/// large block reads nothing meanwhile.
pub(crate) const STALLED: Duration = Duration::from_mins(2);

/// The first pause before a lost connection is dialled anew; each further one doubles.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause between two dialled connections.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long the last words of a connection may take.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

/// How long to wait when the system refuses to accept connections (too many open files).
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The longest description of a link's settings, bytes: three times what a device profile takes.
pub(crate) const MAX_SETTINGS: usize = 8 << 10;

/// The longest summary of a link's settings, bytes.
pub(crate) const MAX_SUMMARY: usize = 256;

/// A conversation that lasted so long was a good one: when it is lost, the pauses begin small again.
pub(crate) const GOOD_CONVERSATION: Duration = Duration::from_secs(10);

/// Characters of a text of the far end's that are shown.
pub(crate) const SHOWN_CHARS: usize = 300;

/// Light is sent for so long past what the clock says, to catch up; what is missed beyond is never sent.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(1);
