//! Mouths and ears that remember, and the judgement of what was heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vernam_audio::{AtEnd, Decision, FrameLength, PlayoutLog, Speech, SpeechFrames, VoiceDecoder, replay};
use vernam_engine::VoiceIo;

/// The frames of all calls here.
pub const FRAME: FrameLength = FrameLength::Ms20;

/// What one person said and heard in one call. Clones are the same tape.
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    sent: BTreeMap<u32, (Vec<u8>, Duration)>,
    played: Vec<Decision>,
    pcm: Vec<i16>,
}

/// What is said into a call.
pub enum Mouth {
    /// Recorded speech, from the beginning, again and again.
    Speech(SpeechFrames),
    /// Recorded speech as loud as 16 bits can be, clipping where it must.
    Loud(SpeechFrames),
    /// Digital silence.
    Silence,
}

impl Mouth {
    /// The recording of a reader, or of spoken commands.
    pub fn recorded(name: &str) -> Self {
        Self::Speech(speech(name).frames(FRAME, AtEnd::Loop))
    }

    /// The same, as loud as can be.
    pub fn loud(name: &str) -> Self {
        Self::Loud(speech(name).frames(FRAME, AtEnd::Loop))
    }
}

fn speech(name: &str) -> Speech {
    let path = format!("{}/../assets/speech/{name}.wav", env!("CARGO_MANIFEST_DIR"));
    Speech::load(path).expect("the recorded speech of the repository")
}

struct Head {
    mouth: Mouth,
    tape: Tape,
}

impl Tape {
    /// A head that says what comes from `mouth` and remembers everything on this tape.
    pub fn head(&self, mouth: Mouth) -> Box<dyn VoiceIo> {
        Box::new(Head { mouth, tape: self.clone() })
    }

    /// The Opus packets sent, by number, and when each was sealed.
    pub fn sent(&self) -> BTreeMap<u32, (Vec<u8>, Duration)> {
        self.open().sent.clone()
    }

    /// What was decided, in the order of the sound.
    pub fn played(&self) -> Vec<Decision> {
        self.open().played.clone()
    }

    /// How many packets were played.
    pub fn packets_played(&self) -> usize {
        self.open().played.iter().filter(|decision| matches!(decision, Decision::Packet(_))).count()
    }

    /// Waits until `packets` of the other side's packets were played here.
    pub async fn until_played(&self, packets: usize) {
        self.until(&format!("{packets} packets played"), |record| {
            record.played.iter().filter(|decision| matches!(decision, Decision::Packet(_))).count() >= packets
        })
        .await;
    }

    /// Waits until `packets` packets were sent from here.
    pub async fn until_sent(&self, packets: usize) {
        self.until(&format!("{packets} packets sent"), |record| record.sent.len() >= packets).await;
    }

    async fn until(&self, what: &str, enough: impl Fn(&Record) -> bool) {
        let began = std::time::Instant::now();
        while !enough(&self.open()) {
            assert!(began.elapsed() < super::PATIENCE, "waited {:?} for {what}", super::PATIENCE);
            tokio::time::sleep(FRAME.duration()).await;
        }
    }

    fn open(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VoiceIo for Head {
    fn capture(&mut self, pcm: &mut [i16]) {
        match &mut self.mouth {
            Mouth::Speech(frames) => {
                let _again_and_again = frames.next_into(pcm);
            }
            Mouth::Loud(frames) => {
                let _again_and_again = frames.next_into(pcm);
                for sample in pcm {
                    *sample = sample.saturating_mul(20);
                }
            }
            Mouth::Silence => pcm.fill(0),
        }
    }

    fn play(&mut self, pcm: &[i16]) {
        self.tape.open().pcm.extend_from_slice(pcm);
    }

    fn sent(&mut self, seq: u32, packet: &[u8], at: Duration) {
        let twice = self.tape.open().sent.insert(seq, (packet.to_vec(), at));
        assert!(twice.is_none(), "two packets have the number {seq}");
    }

    fn played(&mut self, decision: Decision, _at: Duration) {
        self.tape.open().played.push(decision);
    }
}

/// More samples than are ever decoded and not yet played.
const MOST_WAITING: usize = 6 * FRAME.samples();

/// What became of one direction of a call.
#[derive(Debug, Clone, Copy)]
pub struct Heard {
    /// Packets that were played.
    pub packets: usize,
    /// Frames that were concealed, recovered, revived or waited for.
    pub mended: usize,
    /// Whether every packet from the first to the last one played was played, in order, and no other sound in between.
    pub seamless: bool,
    /// Whether the sound was shortened or lengthened anywhere.
    pub stretched: bool,
}

/// Checks that what `heard` heard is, bit for bit, what Opus makes of what `said` said: by the decisions taken, and where
/// nothing was missing and nothing stretched, by decoding all packets in a row.
#[track_caller]
pub fn check(said: &Tape, heard: &Tape) -> Heard {
    let (sent, heard) = (said.sent(), heard.open());
    let log: PlayoutLog = heard.played.iter().copied().collect();
    let packet = |seq: u32| sent.get(&seq).map(|(packet, _)| packet.as_slice());
    let expected = replay(FRAME, &log, packet).expect("every packet that was played was sent");
    assert!(expected.len() >= heard.pcm.len(), "sound was played that nobody decided");
    assert!(expected.len() < heard.pcm.len() + MOST_WAITING, "what was decided was played");
    if let Some(at) = expected.iter().zip(&heard.pcm).position(|(a, b)| a != b) {
        panic!("what was heard differs from a local decode from sample {at} of {} on", expected.len());
    }
    let played: Vec<u32> = heard
        .played
        .iter()
        .filter_map(|decision| if let Decision::Packet(seq) = decision { Some(*seq) } else { None })
        .collect();
    let mended = heard
        .played
        .iter()
        .filter(|d| {
            use Decision::{Concealed, Recovered, Revived, Waited};
            matches!(d, Concealed(_) | Recovered(_) | Revived { .. } | Waited(_))
        })
        .count();
    let stretches =
        heard.played.iter().filter(|d| matches!(d, Decision::Shortened { .. } | Decision::Lengthened { .. })).count();
    let in_a_row = played.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let first = heard.played.iter().position(|decision| matches!(decision, Decision::Packet(_)));
    let last = heard.played.iter().rposition(|decision| matches!(decision, Decision::Packet(_)));
    let others = first.zip(last).map_or(0, |(first, last)| {
        heard.played[first..=last].iter().filter(|d| !matches!(d, Decision::Packet(_))).count()
    });
    let seamless = in_a_row && first.is_some() && others <= stretches;
    let by_pitch = stretches > 0;
    if let Some(first) = first.filter(|_| seamless && !by_pitch) {
        let before: i64 = heard.played[..first].iter().map(|decision| decision.samples(FRAME)).sum();
        plain_decode(&sent, &played, &heard.pcm[usize::try_from(before).expect("only silence before it")..]);
    }
    Heard { packets: played.len(), mended, seamless, stretched: by_pitch }
}

/// Decodes the packets one after the other, as any Opus program would, and compares.
#[track_caller]
fn plain_decode(sent: &BTreeMap<u32, (Vec<u8>, Duration)>, numbers: &[u32], heard: &[i16]) {
    let mut decoder = VoiceDecoder::new(FRAME).expect("an Opus decoder");
    let mut pcm = vec![0; FRAME.samples()];
    for (number, heard) in numbers.iter().zip(heard.chunks_exact(FRAME.samples())) {
        decoder.decode(&sent[number].0, &mut pcm).expect("a packet that Opus made");
        assert!(pcm == heard, "packet {number} sounds otherwise than a plain decode of all packets in a row");
    }
}

/// The loudest sample that was heard.
pub fn loudest(heard: &Tape) -> u16 {
    heard.open().pcm.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vernam_audio::{CodecSettings, VoiceEncoder};

    /// A made-up call of twenty frames, heard as `listen` decides.
    fn call(listen: impl Fn(u32) -> Decision) -> (Tape, Tape) {
        let codec = CodecSettings::one_time_pad();
        let (mut encoder, mut packet) = (VoiceEncoder::new(codec).unwrap(), vec![0; codec.packet_len()]);
        let (said, heard) = (Tape::default(), Tape::default());
        let mut pcm = vec![0; FRAME.samples()];
        let (mut mouth, mut ear) = (said.head(Mouth::recorded("reader")), heard.head(Mouth::Silence));
        for seq in 0..20 {
            mouth.capture(&mut pcm);
            encoder.encode(&pcm, &mut packet).unwrap();
            mouth.sent(seq, &packet, FRAME.duration() * seq);
        }
        let log: PlayoutLog = (0..20).map(&listen).collect();
        let sent = said.sent();
        let sound = replay(FRAME, &log, |seq| sent.get(&seq).map(|(packet, _)| packet.as_slice())).unwrap();
        sound.chunks_exact(FRAME.samples()).for_each(|frame| ear.play(frame));
        log.decisions().iter().for_each(|decision| ear.played(*decision, Duration::ZERO));
        (said, heard)
    }

    #[test]
    fn a_true_recording_is_believed() {
        let (said, heard) = call(Decision::Packet);
        let all = check(&said, &heard);
        assert!(all.seamless && all.packets == 20 && all.mended == 0, "{all:?}");
        let (said, heard) = call(|seq| if seq % 5 == 3 { Decision::Concealed(seq) } else { Decision::Packet(seq) });
        let some = check(&said, &heard);
        assert!(!some.seamless && some.packets == 16 && some.mended == 4, "{some:?}");
    }

    #[test]
    #[should_panic(expected = "differs from a local decode")]
    fn one_sample_that_is_off_by_one_is_noticed() {
        let (said, heard) = call(Decision::Packet);
        heard.open().pcm[7_000] ^= 1;
        check(&said, &heard);
    }

    #[test]
    #[should_panic(expected = "differs from a local decode")]
    fn concealment_that_is_not_opus_own_is_noticed() {
        let (said, heard) = call(|seq| if seq == 9 { Decision::Concealed(seq) } else { Decision::Packet(seq) });
        heard.open().pcm[9 * FRAME.samples()..10 * FRAME.samples()].fill(0);
        check(&said, &heard);
    }
}
