//! Every bound and pace of the telephone that is not a setting.

use std::time::Duration;

/// How much longer the called side waits than the calling side, which is the one that should give up first; and what
/// messages may take on their way.
pub(super) const GRACE: Duration = Duration::from_secs(10);
/// How long a call waits, in a conversation that was made anew, for the other side to go on with it. A contact whose
/// client was restarted never will.
pub(super) const RESUME_WITHIN: Duration = Duration::from_secs(10);
/// How long the person may think about terms that protect less; then the answer is no.
pub(super) const ASK_FOR: Duration = Duration::from_secs(30);
/// How long after the end of a call nobody is told that there is none to hang up.
pub(super) const JUST_ENDED: Duration = Duration::from_secs(2);
/// How long the busy tone plays. (ITU-T E.182 leaves the end to the person, who would have to hang up here.)
pub(super) const BUSY_FOR: Duration = Duration::from_secs(4);
/// How long the tone at the end of a call plays.
pub(super) const ENDED_FOR: Duration = Duration::from_secs(1);
/// Wishes to record that the contact has not answered yet.
pub(super) const MAX_RECORD_ASKS: u8 = 4;
/// Suites that the history keeps of one call: after so many changes the rest is not written down.
pub(super) const MAX_SUITES: usize = 32;
/// Seconds of talk left at which people are told.
pub(super) const TALK_WARNINGS: [u64; 4] = [300, 60, 30, 10];
/// Seconds of talk left below which the person is asked for weaker terms.
pub(super) const WEAKER_BELOW: u64 = 60;
/// Seconds of talk from which on that is not asked any longer.
pub(super) const ENOUGH_AGAIN: u64 = 120;
