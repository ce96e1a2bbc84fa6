//! Makes sound a little shorter or longer without changing its pitch: takes out or repeats a piece between two places
//! that look alike, and fades from one to the other (pitch-synchronous overlap and add).
//!
//! It does not decide when. All arithmetic is in integers, so that the same sound always gives the same result.
//!
//! ```text
//!  shorten:   ......[a].......[b]......    ->   ......[a fades to b]......
//!  lengthen:  ......[b].......[a]......    ->   ......[b].......[a fades to b].......[a]......
//!                    └ samples ┘
//! ```
//! The distance between the two places is best a period of the voice's pitch, 2.5 to 15 ms. It is found by normalised
//! correlation. Speech is changed where it is periodic, anything where it is quiet, and nothing else unless in haste.

/// Shortest piece: 2.5 ms, the period of 400 Hz.
pub(crate) const SHORTEST_PIECE: usize = 120;
/// Longest piece: 15 ms, the period of 67 Hz.
pub(crate) const LONGEST_PIECE: usize = 720;
/// Most samples over which one place fades into the other: 5 ms.
const FADE: usize = 240;
/// Sound that is compared: 10 ms, or as much as there is, at least [`FADE`].
const WINDOW: usize = 480;
/// So much unplayed sound lets the longest piece be taken out after a full comparison.
pub(crate) const ENOUGH: usize = LONGEST_PIECE + WINDOW + FADE;
/// Steps of the first search, samples.
const STEP: usize = 8;
/// Places tried.
const PLACES: usize = 6;

/// Correlations are in thousandths. From here on sound is periodic enough to be changed unnoticed.
const ALIKE: i64 = 850;
/// The same in haste.
const ALIKE_IN_HASTE: i64 = 450;
/// Mean square of sound that is quiet in itself: a level of -60 dBFS.
const QUIET: u64 = 1_000;
/// Sound is quiet beside what was heard before if its mean square is this part of it: 26 dB less.
const QUIET_PART: u64 = 400;

/// Where to change sound, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Splice {
    /// The place where the fade begins, in samples back from the end of the sound.
    pub(crate) back: u16,
    /// The samples taken out or put in.
    pub(crate) samples: u16,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Take a piece out.
    Shorten,
    /// Repeat a piece.
    Lengthen,
}

/// Knows how loud the sound has been, to tell what is quiet in it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ear {
    loudness: u64,
}

impl Ear {
    /// Hears a frame.
    pub(crate) fn hear(&mut self, pcm: &[i16]) {
        let now = mean_square(pcm);
        self.loudness = now.max(self.loudness - self.loudness / 256);
    }

    /// The best place to change `sound`, of which only what lies from `from` on may change, by at most `most` samples.
    pub(crate) fn find(self, sound: &[i16], from: usize, way: Way, most: usize, haste: bool) -> Option<Splice> {
        let unplayed = sound.len().checked_sub(from)?;
        let window = match way {
            Way::Shorten => unplayed.saturating_sub(SHORTEST_PIECE),
            Way::Lengthen => unplayed,
        };
        let window = window.min(WINDOW);
        if window < FADE {
            return None;
        }
        // A piece that leaves room for the window, and for lengthening enough sound before it.
        let room = match way {
            Way::Shorten => unplayed - window,
            Way::Lengthen => sound.len() - window,
        };
        let longest = LONGEST_PIECE.min(most).min(room);
        if longest < SHORTEST_PIECE {
            return None;
        }
        let last = match way {
            Way::Shorten => sound.len() - window - longest,
            Way::Lengthen => sound.len() - window,
        };
        let first = match way {
            Way::Shorten => from,
            Way::Lengthen => from.max(longest),
        };
        let stride = (last.saturating_sub(first) / PLACES).max(FADE / 2);
        let mut best: Option<(i64, Splice)> = None;
        for place in (first..=last).step_by(stride) {
            let Some((score, samples)) = best_piece(sound, place, window, longest, way) else { continue };
            let quiet = mean_square(&sound[place..place + window]) <= QUIET.max(self.loudness / QUIET_PART);
            let enough = if haste { ALIKE_IN_HASTE } else { ALIKE };
            let splice = Splice {
                back: u16::try_from(sound.len() - place).ok()?,
                samples: u16::try_from(samples).expect("at most LONGEST_PIECE"),
            };
            let score = if quiet { score.max(enough) } else { score };
            if score >= enough && best.is_none_or(|(other, _)| score > other) {
                best = Some((score, splice));
            }
        }
        best.map(|(_, splice)| splice)
    }
}

/// The piece at `place` whose two ends are most alike, and how much so.
fn best_piece(sound: &[i16], place: usize, window: usize, longest: usize, way: Way) -> Option<(i64, usize)> {
    let here = &sound[place..place + window];
    let there = |samples: usize| match way {
        Way::Shorten => &sound[place + samples..place + samples + window],
        Way::Lengthen => &sound[place - samples..place - samples + window],
    };
    let coarse = (SHORTEST_PIECE..=longest)
        .step_by(STEP)
        .map(|samples| (likeness(here, there(samples), 4), samples))
        .max_by_key(|(score, samples)| (*score, std::cmp::Reverse(*samples)))?;
    let near = coarse.1.saturating_sub(STEP - 1).max(SHORTEST_PIECE)..=(coarse.1 + STEP - 1).min(longest);
    near.map(|samples| (likeness(here, there(samples), 1), samples))
        .max_by_key(|(score, samples)| (*score, std::cmp::Reverse(*samples)))
}

/// Normalised correlation in thousandths, of every `stride`th sample.
fn likeness(one: &[i16], other: &[i16], stride: usize) -> i64 {
    let (mut product, mut one_square, mut other_square) = (0_i64, 0_u64, 0_u64);
    for (a, b) in one.iter().step_by(stride).zip(other.iter().step_by(stride)) {
        product += i64::from(i32::from(*a) * i32::from(*b));
        one_square += u64::from(a.unsigned_abs()).pow(2);
        other_square += u64::from(b.unsigned_abs()).pow(2);
    }
    let norm = one_square.isqrt() * other_square.isqrt();
    product * 1_000 / i64::try_from(norm).unwrap_or(i64::MAX).max(1)
}

fn mean_square(pcm: &[i16]) -> u64 {
    let sum: u64 = pcm.iter().map(|sample| u64::from(sample.unsigned_abs()).pow(2)).sum();
    sum / (pcm.len().max(1) as u64)
}

/// Takes a piece out of `sound`. `false`, with nothing changed, where the splice does not fit.
pub(crate) fn shorten(sound: &mut Vec<i16>, splice: Splice) -> bool {
    let (back, samples) = (usize::from(splice.back), usize::from(splice.samples));
    let fade = FADE.min(samples);
    let Some(place) = sound.len().checked_sub(back).filter(|_| samples > 0 && back >= samples + fade) else {
        return false;
    };
    for at in place..place + fade {
        sound[at] = mix(sound[at], sound[at + samples], at - place, fade);
    }
    sound.copy_within(place + samples + fade.., place + fade);
    sound.truncate(sound.len() - samples);
    true
}

/// Repeats a piece of `sound`. `false`, with nothing changed, where the splice does not fit.
pub(crate) fn lengthen(sound: &mut Vec<i16>, splice: Splice) -> bool {
    let (back, samples) = (usize::from(splice.back), usize::from(splice.samples));
    let fade = FADE.min(samples);
    let len = sound.len();
    let Some(place) = len.checked_sub(back).filter(|place| samples > 0 && *place >= samples && back >= fade) else {
        return false;
    };
    sound.resize(len + samples, 0);
    sound.copy_within(place + fade - samples..len, place + fade);
    for at in place..place + fade {
        sound[at] = mix(sound[at], sound[at - samples], at - place, fade);
    }
    true
}

/// The way from `one` to `other` after `at` of `fade` samples.
fn mix(one: i16, other: i16, at: usize, fade: usize) -> i16 {
    let [at, fade] = [at, fade].map(|count| i32::try_from(count).expect("at most FADE"));
    let mixed = (i32::from(one) * (fade - at) + i32::from(other) * at) / fade;
    i16::try_from(mixed).expect("between the two")
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "sines and noise are made in wider numbers")]
mod tests;
