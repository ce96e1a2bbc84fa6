//! Whether the pad of a call that has just begun is still being made ready: then it is no use to tell people how little
//! there is of it. It decides nothing about later: a call that has lasted for a while is told of its pad at once.

use std::time::Duration;

use crate::limits::FIRST_KEY_PATIENCE;

/// How long the pad may stand still before it is taken for all that there is.
const STILL_FOR: Duration = Duration::from_secs(5);
/// Seconds of talk by which it goes down before it is taken to dwindle: keys are taken in blocks, and what is counted
/// wavers by one.
const DWINDLES_BY: u64 = 2;

/// Follows the pad from a call's first moment on.
#[derive(Debug, Default)]
pub(super) struct FirstPad {
    /// The most seconds of talk that there were pad for.
    most: u64,
    /// How old the call was then.
    grew: Duration,
}

impl FirstPad {
    /// Whether more is just coming, in a call that has lasted so long and has pad for so many `seconds`.
    pub(super) fn is_coming(&mut self, lasted: Duration, seconds: u64) -> bool {
        if seconds > self.most {
            (self.most, self.grew) = (seconds, lasted);
        }
        let dwindles = seconds < self.most && (seconds == 0 || seconds + DWINDLES_BY <= self.most);
        !dwindles && lasted < FIRST_KEY_PATIENCE && lasted < self.grew + STILL_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a call whose pad is so many seconds, a look every second, is first told of it.
    fn told(pad: impl IntoIterator<Item = u64>) -> Option<usize> {
        let mut first = FirstPad::default();
        (0..).map(Duration::from_secs).zip(pad).position(|(lasted, seconds)| !first.is_coming(lasted, seconds))
    }

    #[test]
    fn nobody_is_told_of_a_pad_that_is_just_filled() {
        assert_eq!(told([0, 0, 3, 9, 20, 19, 33, 60, 90]), None);
    }

    #[test]
    fn people_are_told_of_a_pad_that_dwindles_or_does_not_come() {
        assert_eq!(told([30, 29, 28, 27]), Some(2));
        assert_eq!(told([1, 0]), Some(1));
        assert_eq!(told([0; 9]), Some(5), "none comes");
        assert_eq!(told([7; 9]), Some(5), "no more comes");
        assert_eq!(told(0..60), Some(20), "it grows, but slowly");
    }
}
