//! A call's clock in virtual time: what is captured, played and written down in each step.

use std::time::Instant;

use super::*;

/// What was asked of mouth, ear and tape, with the samples each time.
type Log = Arc<Mutex<Vec<(&'static str, usize)>>>;

struct Ends {
    log: Log,
    step: FrameLength,
    /// Samples captured so far.
    captured: i16,
}

fn add(log: &Log, what: &'static str, samples: usize) {
    log.lock().unwrap().push((what, samples));
}

impl VoiceIo for Ends {
    fn capture(&mut self, pcm: &mut [i16]) {
        add(&self.log, "capture", pcm.len());
        self.captured += 1;
        pcm.fill(self.captured);
    }

    fn play(&mut self, pcm: &[i16]) {
        add(&self.log, "play", pcm.len());
    }

    fn step(&mut self, _frame: FrameLength) -> FrameLength {
        self.step
    }
}

impl Tape for Ends {
    fn write(&mut self, said: &[i16], heard: &[i16]) {
        assert_eq!(said.len(), heard.len());
        add(&self.log, "write", said.len());
    }
}

fn media(frame: FrameLength, step: FrameLength) -> (Media, Log) {
    let log = Log::default();
    let ends = || Ends { log: Arc::clone(&log), step, captured: 0 };
    let codec = CodecSettings::standard().with_frame(frame);
    let terms = CallProposal { suite: Suite::Aes256Gcm, codec }.terms().unwrap();
    let (sender, _) = mpsc::channel(9);
    let notes = MediaNotes { contact: "bob".into(), task: 1, sender };
    let (io, transmit, epoch) = (Box::new(ends()), Transmit::Open, Instant::now());
    let mut media = Media::new(MediaParts { call: 1, terms, codec, io, notes, transmit, talk: false, epoch }).unwrap();
    media.began = true;
    media.gate.sending = true;
    let tape: Box<dyn Tape> = Box::new(ends());
    media.input(MediaInput::Record(Some(Arc::new(Mutex::new(tape)))));
    (media, log)
}

#[test]
fn a_long_frame_is_played_in_short_steps_and_captured_and_written_whole() {
    for frame in FrameLength::ALL {
        let (mut media, log) = media(frame, FrameLength::Ms10);
        let steps = frame.samples() / 480;
        for number in 0..3 {
            for _ in 0..steps {
                media.step();
            }
            let mut expected = vec![("capture", frame.samples())];
            expected.extend(vec![("play", 480); steps - 1]);
            expected.extend([("write", frame.samples()), ("play", 480)]);
            assert_eq!(std::mem::take(&mut *log.lock().unwrap()), expected, "frame {number} of {frame:?}");
        }
        assert_eq!(media.next_seq, 3, "a number a frame");
    }
}

#[test]
fn a_step_that_is_no_part_of_a_frame_is_a_frame() {
    for (frame, step) in [(FrameLength::Ms20, FrameLength::Ms60), (FrameLength::Ms60, FrameLength::Ms40)] {
        let (mut media, log) = media(frame, step);
        media.step();
        let samples = frame.samples();
        assert_eq!(*log.lock().unwrap(), [("capture", samples), ("write", samples), ("play", samples)]);
    }
}
