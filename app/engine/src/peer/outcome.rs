//! What came of a conversation, and whether that is news. It decides nothing: the engine begins and tells.

use std::time::Duration;

use vernam_quic::{Connection, QuicError};

use super::transfers::Transfers;
use crate::limits::{CONNECTED_ANEW, CROSSING};

/// What came of a conversation.
pub(crate) struct Outcome {
    /// Whether the contact ever proved that it holds the key.
    pub(crate) established: bool,
    /// Why it ended; `None` is a proper end.
    pub(crate) why: Option<String>,
    /// Whether the network took it, so that it may come back.
    pub(crate) lost: bool,
    /// Whether the contact ended it because another connection with us takes its place.
    pub(crate) replaced_there: bool,
    /// What is left unfinished for the next one.
    pub(crate) transfers: Option<Transfers>,
}

/// Whether the end of a conversation is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Now,
    /// Unless another conversation begins within [`CROSSING`](crate::limits::CROSSING).
    Later,
    Never,
}

impl Outcome {
    /// Whether calls wait for another conversation. Whoever could prove no key just now may have some soon; and where
    /// another connection waits, `replaced`, it goes on there.
    pub(crate) fn may_come_back(&self, replaced: bool) -> bool {
        self.lost || replaced || !self.established
    }

    /// Whether it is to be told; `lasted` is how long the conversation was there. Of two connections that were made at
    /// once, the end of one is no news, and the end of the one may come before the beginning of the other.
    pub(crate) fn news(&self, replaced: bool, lasted: Duration) -> News {
        let crossed = self.replaced_there && (!self.established || lasted < CROSSING);
        match (crossed, replaced) {
            (true, true) => News::Never,
            (true, false) => News::Later,
            (false, true) if !self.established => News::Never,
            (false, _) => News::Now,
        }
    }

    /// What became of a conversation over `connection`, which has ended.
    pub(super) fn of(connection: &Connection, established: bool, why: Option<String>) -> Self {
        let error = connection.close_reason();
        let code = error.as_ref().and_then(close_code);
        Self {
            established,
            why,
            lost: error.as_ref().is_some_and(is_lost),
            replaced_there: code == Some(CONNECTED_ANEW),
            transfers: None,
        }
    }
}

/// Whether the network took a connection, or the contact replaced it: then the conversation may come back.
fn is_lost(error: &QuicError) -> bool {
    match error {
        QuicError::TimedOut | QuicError::Forgotten | QuicError::Broken { .. } => true,
        error => close_code(error) == Some(CONNECTED_ANEW),
    }
}

/// The code with which the contact closed a connection, if it did.
fn close_code(error: &QuicError) -> Option<u32> {
    match error {
        QuicError::ClosedByPeer { code, .. } => u32::try_from(*code).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(established: bool, lost: bool) -> Outcome {
        Outcome { established, why: Some("a reason".to_owned()), lost, replaced_there: false, transfers: None }
    }

    #[test]
    fn a_connection_that_proved_no_key_does_not_end_the_call_that_waits_for_one() {
        assert!(outcome(false, false).may_come_back(false), "its KME may have key again in a moment");
        assert!(outcome(true, true).may_come_back(false), "the network took it");
        assert!(outcome(true, false).may_come_back(true), "another one is there already");
        assert!(!outcome(true, false).may_come_back(false), "it ended for a reason of its own");
    }

    #[test]
    fn the_end_of_one_of_two_connections_that_were_made_at_once_is_no_news() {
        let (soon, late) = (Duration::ZERO, CROSSING);
        let crossed = |established| Outcome { replaced_there: true, ..outcome(established, true) };
        assert_eq!(outcome(false, false).news(true, soon), News::Never);
        assert_eq!(outcome(false, false).news(false, soon), News::Now);
        assert_eq!(outcome(true, false).news(true, soon), News::Now);
        assert_eq!(crossed(false).news(true, soon), News::Never);
        // The other one is on its way.
        assert_eq!(crossed(false).news(false, late), News::Later);
        assert_eq!(crossed(true).news(false, soon), News::Later);
        assert_eq!((crossed(true).news(true, late), crossed(true).news(false, late)), (News::Now, News::Now));
    }
}
