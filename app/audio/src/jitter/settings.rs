//! How long the jitter buffer holds sound back, and how far it may adapt.

use std::time::Duration;

use crate::{FrameLength, Result, error::SettingsError};

/// Most frames that one jitter buffer holds, and with it its memory: about 250 KB of packets.
pub const MAX_BUFFERED_FRAMES: u64 = 200;
/// Longest packet it takes, bytes: the longest single Opus frame and its header byte (RFC 6716, section 3.2.1).
pub const MAX_JITTER_PACKET_LEN: usize = 1_276;

/// Jitter buffer settings, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterSettings {
    frame: FrameLength,
    start_delay: Duration,
    max_delay: Duration,
    patience: Duration,
    calm: Duration,
}

impl JitterSettings {
    /// Settings from their parts.
    ///
    /// - `start_delay`: how long the first packet waits before it is played; the delay returned to in calm times;
    /// - `max_delay`: the most sound that is ever held back. What comes above is cut, oldest first;
    /// - `patience`: how long a stalled stream is bridged by concealment before silence;
    /// - `calm`: after so long without a late packet the delay shrinks by one frame.
    pub fn new(
        frame: FrameLength,
        start_delay: Duration,
        max_delay: Duration,
        patience: Duration,
        calm: Duration,
    ) -> Result<Self> {
        let refuse = |reason| Err(SettingsError::Jitter { reason }.into());
        if start_delay < frame.duration() {
            return refuse("the start delay must be at least one frame");
        }
        if frame.frames_in(max_delay) < frame.frames_in(start_delay) + 2 {
            return refuse("the longest delay must be at least two frames above the start delay");
        }
        if frame.frames_in(max_delay) > MAX_BUFFERED_FRAMES {
            return refuse("the longest delay must be at most 200 frames");
        }
        if patience < frame.duration() {
            return refuse("the patience with a stalled stream must be at least one frame");
        }
        if calm < frame.duration() * 10 {
            return refuse("the calm before the delay shrinks must be at least ten frames");
        }
        Ok(Self { frame, start_delay, max_delay, patience, calm })
    }

    /// The default for a frame length: two frames of delay (one of 40 or 60 ms), at most 400 ms, silence 120 ms
    /// after the stream stalls, one frame less every 1.5 s of calm.
    ///
    /// Two frames, so that the packet after a lost one is already there when the lost one is due, and its redundancy
    /// can be used. 120 ms is where Opus' concealment has faded out.
    pub const fn standard(frame: FrameLength) -> Self {
        let start_delay = match frame {
            FrameLength::Ms10 => Duration::from_millis(20),
            FrameLength::Ms20 | FrameLength::Ms40 => Duration::from_millis(40),
            FrameLength::Ms60 => Duration::from_millis(60),
        };
        Self {
            frame,
            start_delay,
            max_delay: Duration::from_millis(400),
            patience: Duration::from_millis(120),
            calm: Duration::from_millis(1_500),
        }
    }

    /// The same settings with another start delay.
    pub fn with_start_delay(self, start_delay: Duration) -> Result<Self> {
        Self::new(self.frame, start_delay, self.max_delay, self.patience, self.calm)
    }

    /// The same settings with another longest delay.
    pub fn with_max_delay(self, max_delay: Duration) -> Result<Self> {
        Self::new(self.frame, self.start_delay, max_delay, self.patience, self.calm)
    }

    /// How much sound one packet holds.
    pub const fn frame(&self) -> FrameLength {
        self.frame
    }

    /// How long the first packet waits.
    pub const fn start_delay(&self) -> Duration {
        self.start_delay
    }

    /// The most sound that is ever held back.
    pub const fn max_delay(&self) -> Duration {
        self.max_delay
    }

    pub(super) fn start_frames(&self) -> u64 {
        self.frame.frames_in(self.start_delay)
    }

    pub(super) fn max_frames(&self) -> u64 {
        self.frame.frames_in(self.max_delay)
    }

    pub(super) fn patience_frames(&self) -> u64 {
        self.frame.frames_in(self.patience)
    }

    pub(super) fn calm_frames(&self) -> u64 {
        self.frame.frames_in(self.calm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_checks() {
        for frame in FrameLength::ALL {
            let JitterSettings { frame, start_delay, max_delay, patience, calm } = JitterSettings::standard(frame);
            assert!(JitterSettings::new(frame, start_delay, max_delay, patience, calm).is_ok(), "{frame:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let settings = JitterSettings::standard(FrameLength::Ms20);
        assert!(settings.with_start_delay(Duration::from_millis(19)).is_err());
        assert!(settings.with_start_delay(Duration::from_millis(380)).is_err());
        assert!(settings.with_max_delay(Duration::from_millis(4_001)).is_err());
        assert!(settings.with_max_delay(Duration::from_secs(4)).is_ok());
    }
}
