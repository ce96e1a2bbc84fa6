//! Our playout over a trace: real packets, real Opus, the sound checked against its replay.

use std::time::Duration;

use vernam_audio::{Decision, JitterSettings, PlayoutDecoder, PlayoutLog, PlayoutStats, replay};

use crate::judge::{Part, Played, Verdict};
use crate::sent::sent;
use crate::trace::Trace;

/// What came of it.
pub(crate) struct Ours {
    pub(crate) verdict: Verdict,
    pub(crate) stats: PlayoutStats,
    /// The most that was ever held back, ms, by the buffer's own count.
    pub(crate) longest: Duration,
    sound: Vec<i16>,
    log: PlayoutLog,
}

impl Ours {
    /// The log and the packets make the same sound again.
    pub(crate) fn check_replay(&self, trace: &Trace) {
        let again = replay(trace.frame(), &self.log, |seq| Some(sent(trace.codec).packet(seq))).unwrap();
        assert!(again.len() < self.sound.len() + 6 * trace.frame().samples(), "what waits at the end is bounded");
        assert!(again[..self.sound.len()] == self.sound, "{}: the replay differs", trace.name);
    }

    pub(crate) fn decisions(&self) -> &[Decision] {
        self.log.decisions()
    }
}

/// Plays the trace, pulling one of so many `parts` of a frame at a time, first at `phase` microseconds.
pub(crate) fn play(trace: &Trace, parts: usize, phase: u64) -> Ours {
    let frame = trace.frame();
    let mut playout = PlayoutDecoder::new(JitterSettings::standard(frame)).unwrap().with_log();
    let mut arrivals = trace.arrivals().into_iter().peekable();
    let step = u64::from(frame.millis()) * 1_000 / parts as u64;
    let mut pcm = vec![0; frame.samples() / parts];
    let (mut sound, mut played, mut made) = (Vec::new(), Vec::new(), 0_i64);
    let mut longest = Duration::ZERO;
    let end = trace.packets.last().unwrap().0;
    for pull in (0..).map(|pull| phase + pull * step).take_while(|at| *at < end) {
        while let Some((at, seq)) = arrivals.next_if(|(at, _)| *at <= pull) {
            let _fate = playout.push(seq, sent(trace.codec).packet(seq), Duration::from_micros(at));
        }
        for decision in playout.pull(Duration::from_micros(pull), &mut pcm).unwrap() {
            let part = match *decision {
                Decision::Packet(seq) => Part::Packet(seq),
                Decision::Recovered(seq) | Decision::Revived { seq, .. } => Part::Copy(seq),
                _ => Part::MadeUp,
            };
            let samples = decision.samples(frame);
            if !matches!(decision, Decision::Shortened { .. } | Decision::Lengthened { .. }) {
                let at = phase + u64::try_from(made).unwrap() * 1_000 / 48;
                played.push(Played { at, samples, part });
            }
            made += samples;
        }
        sound.extend_from_slice(&pcm);
        longest = longest.max(playout.stats().jitter.delay);
    }
    let log = playout.log().unwrap().clone();
    Ours { verdict: Verdict::of(trace, &played), stats: playout.stats(), longest, sound, log }
}
