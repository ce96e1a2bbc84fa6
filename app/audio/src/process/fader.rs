//! Lets sound pass or not, without a click: for mute, push-to-talk, hold and changes of device.
//!
//! It does not decide when. What is said after it was shut does not pass, not even quietly: the last sample that passed
//! fades out in its place.

/// Samples over which sound fades in: 5 ms.
const FADE_IN: f32 = 240.0;
/// What is left of the last sample after each further one: even the loudest is silent after 8 ms, within one frame.
const DECAY: f32 = 0.97;
/// Quieter than this a sample is silence.
const SILENT: f32 = 0.5;

/// A gate for sound of 48 kHz; shut in the beginning.
#[derive(Debug, Clone, Default)]
pub struct Fader {
    /// 1 once faded in.
    gain: f32,
    /// What is left of the sound that broke off.
    tail: f32,
    last: f32,
}

impl Fader {
    /// Lets a frame pass, or puts the rest of the last one and then silence in its place. Open for a while it changes
    /// no bit.
    pub fn pass(&mut self, pcm: &mut [i16], open: bool) {
        if !open {
            self.cut();
        }
        for sample in pcm {
            if open && self.gain >= 1.0 && self.tail == 0.0 {
                self.last = f32::from(*sample);
                continue;
            }
            self.tail = if self.tail.abs() < SILENT { 0.0 } else { self.tail * DECAY };
            self.gain = if open { (self.gain + 1.0 / FADE_IN).min(1.0) } else { 0.0 };
            self.last = f32::from(*sample) * self.gain + self.tail;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "as a cast of a float does, it ends at the limits of i16"
            )]
            let faded = self.last.round() as i16;
            *sample = faded;
        }
    }

    /// The next sample does not follow the last one: fades from one to the other.
    pub fn cut(&mut self) {
        if self.gain > 0.0 {
            (self.tail, self.gain) = (self.last, 0.0);
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "a sine is made in f64")]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    const FRAME: usize = 480;

    fn tone() -> impl Iterator<Item = i16> {
        (0..).map(|index| (30_000.0 * (TAU * 300.0 * f64::from(index) / 48_000.0).sin()) as i16)
    }

    fn steps(sound: &[i16]) -> u16 {
        sound.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap_or(0)
    }

    /// Frames of a loud tone, with the gate open in those of which it is said.
    fn through(open: &[bool]) -> Vec<i16> {
        let (mut fader, mut tone) = (Fader::default(), tone());
        let mut heard = Vec::new();
        for open in open {
            let mut frame: Vec<i16> = tone.by_ref().take(FRAME).collect();
            fader.pass(&mut frame, *open);
            heard.extend(frame);
        }
        heard
    }

    #[test]
    fn shut_it_is_silent_within_a_frame_and_lets_nothing_new_out() {
        // A hundredth of a second of 300 Hz ends anywhere but at nothing when it is cut a fifth into the next period.
        let (mut fader, mut tone) = (Fader::default(), tone());
        let mut frame: Vec<i16> = tone.by_ref().take(FRAME + 50).collect();
        fader.pass(&mut frame, true);
        let last = *frame.last().unwrap();
        assert!(last.unsigned_abs() > 10_000, "{last}");
        let mut after: Vec<i16> = tone.by_ref().take(FRAME).collect();
        let mut other = vec![-30_000; FRAME];
        fader.clone().pass(&mut other, false);
        fader.pass(&mut after, false);
        assert_eq!(after, other, "what is said does not matter");
        assert!(after[0].abs_diff(last) < 1_000 && steps(&after) < 1_000, "{last}, then {:?}", &after[..9]);
        assert!(after[400..].iter().all(|sample| *sample == 0), "{:?}", &after[380..]);
    }

    #[test]
    fn no_switching_clicks_and_open_it_changes_nothing() {
        let plain: Vec<i16> = tone().take(3 * FRAME).collect();
        let open = through(&[true; 3]);
        assert_eq!(open[240..], plain[240..]);
        let most = 2 * steps(&plain);
        for pattern in 0..1_u32 << 8 {
            let pattern: Vec<bool> = (0..8).map(|bit| pattern >> bit & 1 == 1).collect();
            let heard = through(&pattern);
            assert!(steps(&heard) < most, "{pattern:?}: a step of {}", steps(&heard));
        }
    }

    #[test]
    fn a_change_of_source_is_no_step() {
        let mut fader = Fader::default();
        let mut frame = vec![20_000; FRAME];
        fader.pass(&mut frame, true);
        let mut other = vec![-20_000; FRAME];
        fader.cut();
        fader.pass(&mut other, true);
        frame.extend(&other);
        assert!(steps(&frame[240..]) < 1_000, "{}", steps(&frame[240..]));
        assert_eq!(other[FRAME - 1], -20_000);
    }
}
