//! How long the jitter buffer holds sound back at the start, at least and at most.

use std::time::Duration;

use crate::{FrameLength, Result, error::SettingsError};

/// Most frames that one jitter buffer holds, and with it its memory: about 250 KB of packets.
pub const MAX_BUFFERED_FRAMES: u64 = 200;
/// Longest packet it takes, bytes: the longest single Opus frame and its header byte (RFC 6716, section 3.2.1).
pub const MAX_JITTER_PACKET_LEN: usize = 1_276;

/// Jitter buffer settings, checked.
///
/// All delays count from the earliest that packets come lately: the time that the network always takes is not in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterSettings {
    frame: FrameLength,
    start_delay: Duration,
    min_delay: Duration,
    max_delay: Duration,
}

impl JitterSettings {
    /// Settings from their parts.
    ///
    /// - `start_delay`: the delay aimed at until the network is known, about the first five seconds;
    /// - `min_delay`: the least delay aimed at, however steady the network;
    /// - `max_delay`: the most sound that is ever held back. What comes above is cut, oldest first.
    pub fn new(frame: FrameLength, start_delay: Duration, min_delay: Duration, max_delay: Duration) -> Result<Self> {
        let refuse = |reason| Err(SettingsError::Jitter { reason }.into());
        if start_delay < min_delay {
            return refuse("the start delay must be at least the shortest delay");
        }
        if frame.frames_in(max_delay) < frame.frames_in(start_delay) + 3 {
            return refuse("the longest delay must be at least three frames above the start delay");
        }
        if frame.frames_in(max_delay) > MAX_BUFFERED_FRAMES {
            return refuse("the longest delay must be at most 200 frames");
        }
        Ok(Self { frame, start_delay, min_delay, max_delay })
    }

    /// The default for a frame length: 40 ms at the start (30 ms for 10 ms frames, one frame of 60 ms), then what the
    /// network asks for, from 5 to 400 ms.
    pub const fn standard(frame: FrameLength) -> Self {
        let start_delay = match frame {
            FrameLength::Ms10 => Duration::from_millis(30),
            FrameLength::Ms20 | FrameLength::Ms40 => Duration::from_millis(40),
            FrameLength::Ms60 => Duration::from_millis(60),
        };
        Self { frame, start_delay, min_delay: Duration::from_millis(5), max_delay: Duration::from_millis(400) }
    }

    /// The same settings with another start delay.
    pub fn with_start_delay(self, start_delay: Duration) -> Result<Self> {
        Self::new(self.frame, start_delay, self.min_delay, self.max_delay)
    }

    /// The same settings with another least delay.
    pub fn with_min_delay(self, min_delay: Duration) -> Result<Self> {
        Self::new(self.frame, self.start_delay, min_delay, self.max_delay)
    }

    /// The same settings with another longest delay.
    pub fn with_max_delay(self, max_delay: Duration) -> Result<Self> {
        Self::new(self.frame, self.start_delay, self.min_delay, max_delay)
    }

    /// How much sound one packet holds.
    pub const fn frame(&self) -> FrameLength {
        self.frame
    }

    /// The delay aimed at until the network is known.
    pub const fn start_delay(&self) -> Duration {
        self.start_delay
    }

    /// The least delay aimed at.
    pub const fn min_delay(&self) -> Duration {
        self.min_delay
    }

    /// The most sound that is ever held back.
    pub const fn max_delay(&self) -> Duration {
        self.max_delay
    }

    pub(super) fn max_frames(&self) -> u64 {
        self.frame.frames_in(self.max_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_checks() {
        for frame in FrameLength::ALL {
            let JitterSettings { frame, start_delay, min_delay, max_delay } = JitterSettings::standard(frame);
            assert!(JitterSettings::new(frame, start_delay, min_delay, max_delay).is_ok(), "{frame:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let settings = JitterSettings::standard(FrameLength::Ms20);
        assert!(settings.with_start_delay(Duration::from_millis(4)).is_err());
        assert!(settings.with_start_delay(Duration::from_millis(360)).is_err());
        assert!(settings.with_min_delay(Duration::from_millis(41)).is_err());
        assert!(settings.with_max_delay(Duration::from_millis(4_001)).is_err());
        assert!(settings.with_max_delay(Duration::from_secs(4)).is_ok());
    }
}
