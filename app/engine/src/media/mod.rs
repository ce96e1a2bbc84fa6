//! The sound of one call: capture, code, seal and send on a fixed clock; receive, open, buffer, decode and play.
//!
//! A call's task belongs to the telephone's shell and outlives connections: after a reconnect it gets voice flows of the
//! new conversation and goes on. Numbers of packets go on from flow to flow and over an outage, a number a frame's time,
//! so the other side's one jitter buffer and one decoder serve the whole call.

mod flow;
mod gate;
#[cfg(test)]
mod tests;
mod watch;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use vernam_audio::process::{Fader, Meter};
use vernam_audio::tone::{ToneKind, ToneSource};
use vernam_audio::{CodecSettings, Decision, FrameLength, JitterSettings, PlayoutDecoder, VoiceEncoder};
use vernam_key::{Inbound, Outbound, Voice};
use vernam_quic::Connection;
use vernam_session::{CallTerms, FlowId, KeyBlock, KeyError, Message, Refusal, Suite, voice_flow_of};

pub(crate) use self::flow::VoiceFlow;
use self::flow::{Ears, OutFlow};
use self::gate::Gate;
use self::watch::{Change, Counts, Report, Reports, Watch};
use crate::command::{CallProposal, Effort, Tape, VoiceIo};
use crate::event::CallStats;
use crate::limits::TICK;
use crate::peer::Input;
use crate::phone::Transmit;

/// What writes a call down. The shell keeps it over an outage; the lock is never contended.
pub(crate) type SharedTape = Arc<Mutex<Box<dyn Tape>>>;

/// What a running call is told.
pub(crate) enum MediaInput {
    /// Voice flows to go over to.
    Flow(Box<VoiceFlow>),
    /// After [`Self::Wait`]: go on over the flows that there are.
    GoOn,
    Outbound(KeyBlock<Outbound>),
    Inbound(KeyBlock<Inbound>),
    /// The stock is used up, or the peer has not the key.
    NoKey {
        flow: FlowId,
    },
    /// There may be key again.
    NewStock,
    /// What is sent and heard.
    Sound {
        sending: bool,
        hearing: bool,
    },
    Transmit(Transmit),
    Talk(bool),
    /// Write the call down from now on, or no longer.
    Record(Option<SharedTape>),
    /// How our voice arrives at the contact's.
    Quality {
        lost_percent: u8,
        burst_tenths: u8,
    },
    /// The connection is away: keep everything until there is another flow.
    Wait,
    Stop,
}

/// What a running call tells the telephone's shell.
pub(crate) enum MediaNote {
    /// How it goes, some times a second.
    Tick(Box<CallStats>),
    /// A flow has no key left to send with.
    KeyOver { call: u32 },
    /// It cannot go on, and why.
    Failed { call: u32, why: &'static str },
    /// Nothing has been heard from the contact's machine for some seconds.
    Lost,
    /// Something is heard again.
    Back,
}

/// Where a call's notes go, with whose call they are about.
#[derive(Clone)]
pub(crate) struct MediaNotes {
    pub(crate) contact: Arc<str>,
    /// Which call's task says it: an older one may still have something to say.
    pub(crate) task: u64,
    pub(crate) sender: mpsc::Sender<(Arc<str>, u64, MediaNote)>,
}

impl MediaNotes {
    fn tell(&self, note: MediaNote) -> bool {
        self.sender.try_send((Arc::clone(&self.contact), self.task, note)).is_ok()
    }
}

/// What a call is made of.
pub(crate) struct MediaParts {
    pub(crate) call: u32,
    pub(crate) terms: CallTerms,
    pub(crate) codec: CodecSettings,
    pub(crate) io: Box<dyn VoiceIo>,
    pub(crate) notes: MediaNotes,
    pub(crate) transmit: Transmit,
    pub(crate) talk: bool,
    pub(crate) epoch: std::time::Instant,
}

struct Recording {
    tape: SharedTape,
    beep: ToneSource,
}

/// One running call.
#[expect(clippy::struct_excessive_bools, reason = "independent things that are so or not")]
pub(crate) struct Media {
    io: Box<dyn VoiceIo>,
    notes: MediaNotes,
    epoch: std::time::Instant,
    frame: FrameLength,
    /// What is played at a time: a frame, or a whole part of it.
    step: FrameLength,
    /// Steps of the running frame that have passed.
    passed: usize,
    effort: Effort,
    encoder: VoiceEncoder,
    playout: PlayoutDecoder,
    connection: Option<Connection>,
    out: Option<OutFlow>,
    /// What is sent from the frame on for which there is key.
    next: Option<OutFlow>,
    ears: Ears,
    /// Without a flow: the number that the next packet would have.
    next_seq: u32,
    said: Vec<i16>,
    heard: Vec<i16>,
    beep: Vec<i16>,
    /// One step of what is heard, with the tone of a recording.
    played: Vec<i16>,
    packet: Vec<u8>,
    datagram: Vec<u8>,
    /// Whether a key was ever installed: capture begins with the first.
    began: bool,
    /// The connection is away.
    waiting: bool,
    decisions: Vec<Decision>,
    hearing: bool,
    /// Takes the edges off where hearing begins and ends.
    ear: Fader,
    gate: Gate,
    meter: Meter,
    recording: Option<Recording>,
    watch: Watch,
    reports: Reports,
    /// The shell was told that the call must end.
    failed: bool,
    newest: Option<u32>,
    /// How often packets were missing when the next one came.
    gaps: u64,
    /// The connection was away since the newest packet: what is missing up to the next one was never on its way here.
    outage: bool,
    transit: Option<i128>,
    stats: CallStats,
    call: u32,
    taken_at: Duration,
    ticked_at: Duration,
}

impl Media {
    /// Fails where the codec cannot be made.
    pub(crate) fn new(parts: MediaParts) -> Result<Self, vernam_audio::Error> {
        let MediaParts { call, terms, codec, mut io, notes, transmit, talk, epoch } = parts;
        let frame = codec.frame();
        let step = io.step(frame);
        let step = if frame.samples().is_multiple_of(step.samples()) { step } else { frame };
        let effort = io.effort();
        let playout = PlayoutDecoder::with_effort(JitterSettings::standard(frame), effort.decoder())?;
        let taken_at = epoch.elapsed();
        let stats = CallStats { playout: playout.stats(), ..CallStats::of(terms) };
        Ok(Self {
            io,
            notes,
            epoch,
            frame,
            step,
            passed: 0,
            encoder: VoiceEncoder::new(effort.encoder(codec)?)?,
            effort,
            playout,
            connection: None,
            out: None,
            next: None,
            ears: Ears::new(terms.suite),
            next_seq: 0,
            said: vec![0; frame.samples()],
            heard: vec![0; frame.samples()],
            beep: vec![0; frame.samples()],
            played: vec![0; step.samples()],
            packet: vec![0; codec.packet_len()],
            datagram: Vec::with_capacity(2_048),
            began: false,
            waiting: false,
            decisions: Vec::new(),
            hearing: false,
            ear: Fader::default(),
            gate: Gate::new(frame, transmit, talk),
            meter: Meter::new(),
            recording: None,
            watch: Watch::default(),
            reports: Reports::default(),
            failed: false,
            newest: None,
            gaps: 0,
            outage: false,
            transit: None,
            stats,
            call,
            taken_at,
            ticked_at: taken_at,
        })
    }

    /// Runs until it is told to stop, and says how the call went.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<MediaInput>) -> Box<CallStats> {
        // The fixed clock of the call: a packet a frame, whatever is said. What is heard may go in smaller steps.
        let mut clock = interval(self.step.duration());
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut connected, mut goes_on) = (false, true);
        while goes_on {
            let connection = self.connection.clone();
            tokio::select! {
                biased;
                input = inputs.recv() => goes_on = self.told(input, &mut connected),
                _ = clock.tick() => self.step(),
                datagram = read(connection.as_ref()), if connected => match datagram {
                    Some(datagram) => {
                        // The contact sends under a key once we have said that we hold it, and then it waits here. It may
                        // have come since this was last looked at: a busy machine can stop us between two looks.
                        while let Some(input) = goes_on.then(|| inputs.try_recv().ok()).flatten() {
                            goes_on = self.told(Some(input), &mut connected);
                        }
                        self.receive(&datagram);
                    }
                    None => connected = false,
                },
            }
        }
        self.fill_stats();
        Box::new(self.stats)
    }

    /// Does what it is told; false when it is to stop.
    fn told(&mut self, input: Option<MediaInput>, connected: &mut bool) -> bool {
        match input {
            Some(MediaInput::Stop) | None => return false,
            Some(MediaInput::Flow(flow)) => {
                self.go_over_to(*flow);
                *connected = true;
            }
            Some(input) => self.input(input),
        }
        true
    }

    fn input(&mut self, input: MediaInput) {
        match input {
            MediaInput::Outbound(block) => self.install_outbound(block),
            MediaInput::Inbound(block) => self.install_inbound(block),
            MediaInput::NoKey { flow } => {
                let flows = self.out.iter_mut().chain(&mut self.next);
                flows.filter(|out| FlowId::of::<Voice>(out.call) == flow).for_each(OutFlow::no_key);
            }
            // Once it was told that the call must end, it must.
            MediaInput::NewStock => self.out.iter_mut().chain(&mut self.next).for_each(OutFlow::new_stock),
            MediaInput::Sound { sending, hearing } => {
                self.gate.sending = sending;
                self.hearing = hearing;
            }
            MediaInput::Transmit(transmit) => self.gate.set_transmit(transmit),
            MediaInput::Talk(talk) => self.gate.set_talk(talk),
            MediaInput::Record(tape) => {
                self.recording = tape.map(|tape| Recording { tape, beep: ToneSource::new(ToneKind::Recording) });
            }
            MediaInput::Quality { lost_percent, burst_tenths } => {
                self.stats.lost_at_contact_percent = lost_percent;
                self.stats.burst_at_contact = f32::from(burst_tenths) / 10.0;
                if let Err(error) = self.encoder.hint_loss(lost_percent) {
                    tracing::warn!(%error, "the encoder takes no loss hint");
                }
            }
            MediaInput::Wait => self.wait(),
            MediaInput::GoOn => self.go_on(),
            // Handled before.
            MediaInput::Flow(_) | MediaInput::Stop => {}
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The number that the next packet has.
    fn next_number(&self) -> u32 {
        let out = self.out.as_ref().filter(|_| !self.waiting);
        out.map_or(self.next_seq, |out| out.sealer.next_seq())
    }

    /// Nothing is sent until it goes on; numbers do meanwhile, so that they keep to the time.
    fn wait(&mut self) {
        self.next_seq = self.next_number();
        (self.waiting, self.outage) = (true, true);
    }

    fn go_on(&mut self) {
        if std::mem::take(&mut self.waiting)
            && let Some(out) = &mut self.out
        {
            let _asked_for_otherwise = out.sealer.skip_to(self.next_seq);
            // Whoever was to say whether it may go on without key was asked before the outage.
            out.told_over = false;
        }
    }

    fn go_over_to(&mut self, flow: VoiceFlow) {
        let VoiceFlow { call, terms, sealer, opener, connection, inputs } = flow;
        let known = self.connection.as_ref().map(Connection::stable_id);
        if known.is_some_and(|known| known != connection.stable_id()) {
            // The flows of a session that is gone.
            self.next_seq = self.next_number();
            (self.out, self.next) = (None, None);
            self.ears.clear();
        }
        if known != Some(connection.stable_id()) {
            self.watch = Watch::default();
        }
        self.go_on();
        self.connection = Some(connection);
        self.ears.add(call, terms.suite, opener);
        self.next = Some(OutFlow::new(call, terms, sealer, inputs));
        self.call = call;
        self.stats.terms = terms;
    }

    fn install_outbound(&mut self, block: KeyBlock<Outbound>) {
        let len = block.material.len() as u64;
        let mut flows = self.out.iter_mut().chain(&mut self.next);
        let Some(out) = flows.find(|out| FlowId::of::<Voice>(out.call) == block.flow) else { return };
        match out.install(block) {
            Ok(()) => {
                self.began = true;
                self.stats.key_outbound += len;
            }
            Err(error) => self.key_failed(&error),
        }
    }

    fn install_inbound(&mut self, block: KeyBlock<Inbound>) {
        let len = block.material.len() as u64;
        match self.ears.install(block) {
            Ok(()) => self.stats.key_inbound += len,
            Err(error) => self.key_failed(&error),
        }
    }

    fn key_failed(&mut self, error: &KeyError) {
        tracing::warn!(%error, "a voice key could not be used");
        self.fail("a key for it could not be used");
    }

    /// The call must end; said once.
    fn fail(&mut self, why: &'static str) {
        let call = self.call;
        self.failed = self.failed || self.notes.tell(MediaNote::Failed { call, why });
    }

    /// One step's time has passed.
    fn step(&mut self) {
        let now = self.now();
        if self.passed == 0 {
            self.say(now);
        }
        let begin = self.passed * self.step.samples();
        let part = begin..begin + self.step.samples();
        self.passed = (self.passed + 1) % (self.frame.samples() / self.step.samples());
        match self.playout.pull(now, &mut self.heard[part.clone()]) {
            Ok(decisions) => {
                self.decisions.clear();
                self.decisions.extend_from_slice(decisions);
                self.play(now, part);
            }
            Err(error) => {
                self.heard[part].fill(0);
                tracing::warn!(%error, "a frame could not be decoded");
            }
        }
        if now.saturating_sub(self.ticked_at) >= TICK {
            self.ticked_at = now;
            self.tick(now);
        }
    }

    /// One frame's time has passed: what was said is sent.
    fn say(&mut self, now: Duration) {
        self.ears.retire(now);
        self.supply_key(now);
        if self.began {
            self.io.capture(&mut self.said);
            self.gate.pass(&mut self.said);
            self.beep();
            mix(&mut self.said, &self.beep);
            if let Err(error) = self.send(now) {
                tracing::warn!(%error, "a frame could not be coded");
            }
        }
    }

    /// The tone that says that the call is recorded, for this frame.
    fn beep(&mut self) {
        self.beep.fill(0);
        if let Some(recording) = &mut self.recording {
            let _goes_on = recording.beep.mix_into(&mut self.beep);
        }
    }

    /// Plays this part of the frame.
    fn play(&mut self, now: Duration, part: Range<usize>) {
        let heard = &mut self.heard[part.clone()];
        self.ear.pass(heard, self.hearing);
        self.played.copy_from_slice(heard);
        if let Some(recording) = &mut self.recording {
            if part.end == self.said.len() {
                recording.tape.lock().unwrap_or_else(PoisonError::into_inner).write(&self.said, &self.heard);
            }
            mix(&mut self.played, &self.beep[part]);
        }
        self.stats.heard_dbfs = self.meter.push(&self.played);
        self.io.play(&self.played);
        for decision in &self.decisions {
            self.io.played(*decision, now);
        }
    }

    fn supply_key(&mut self, now: Duration) {
        let number = self.next_number();
        if self.waiting {
            return;
        }
        if let Some(out) = &mut self.out {
            out.ask_for_key(None, now);
        }
        let Some(next) = &mut self.next else { return };
        if next.sealer.skip_to(number) {
            self.take_over(number);
            return;
        }
        next.ask_for_key(Some(number), now);
        if next.gives_up(now) && !next.told_over {
            next.told_over = self.notes.tell(MediaNote::KeyOver { call: next.call });
        }
    }

    /// From this frame on the next flow is sent.
    fn take_over(&mut self, number: u32) {
        let Some(next) = self.next.take() else { return };
        self.stats.sent_under = next.terms.suite;
        let codec = CallProposal::of(next.terms).map(|proposal| self.effort.encoder(proposal.codec));
        if let Some(codec) = codec
            && codec.as_ref().ok() != Some(self.encoder.settings())
        {
            let changed = codec.and_then(|codec| self.encoder.change(codec).map(|()| codec));
            match changed {
                Ok(codec) => self.packet = vec![0; codec.packet_len()],
                Err(error) => {
                    tracing::warn!(%error, "the new terms' codec cannot be made");
                    return self.fail("its codec could not be set up");
                }
            }
        }
        self.next_seq = number;
        self.out = Some(next);
    }

    fn send(&mut self, now: Duration) -> Result<(), vernam_audio::Error> {
        let Some(out) = self.out.as_mut().filter(|_| !self.waiting) else {
            // Numbers keep to the time while the connection is away.
            self.next_seq = self.next_seq.saturating_add(1);
            return Ok(());
        };
        self.encoder.encode(&self.said, &mut self.packet)?;
        match out.sealer.seal(&self.packet, &mut self.datagram, now) {
            Ok(seq) => {
                let sent = self.connection.as_ref().map(|to| to.send_voice(Bytes::copy_from_slice(&self.datagram)));
                // A lost connection is seen by the watch and by the conversation's task.
                if matches!(sent, Some(Ok(()))) {
                    self.stats.sent += 1;
                    self.io.sent(seq, &self.packet, now);
                }
            }
            Err(KeyError::NeedKey) => {
                self.stats.unsent += 1;
                if out.gives_up(now) && !out.told_over {
                    out.told_over = self.notes.tell(MediaNote::KeyOver { call: out.call });
                }
            }
            Err(error) => {
                self.stats.unsent += 1;
                tracing::warn!(%error, "a voice packet could not be sealed");
            }
        }
        Ok(())
    }

    fn receive(&mut self, datagram: &[u8]) {
        let Some(flow) = voice_flow_of(datagram).filter(|flow| self.ears.knows(*flow)) else {
            self.stats.stray += 1;
            return;
        };
        let now = self.now();
        self.datagram.clear();
        self.datagram.extend_from_slice(datagram);
        match self.ears.open(flow, &mut self.datagram, now) {
            Ok((seq, packet)) => {
                // Late and repeated packets are in the playout's own counts.
                let _fate = self.playout.push(seq, packet, now);
                self.count(seq);
                self.measure_jitter(seq, now);
            }
            // An honest network repeats and delays; only the rest is worth a report of its own.
            Err(Refusal::Replayed | Refusal::TooLate) => {}
            Err(Refusal::Closed) if self.failed => {}
            Err(Refusal::Closed) => self.fail("too many forged voice packets came"),
            Err(why) => {
                if let Some(out) = self.out.as_ref().or(self.next.as_ref()) {
                    let _full = out.tell(Input::Refused(why));
                }
            }
        }
    }

    /// Takes note of a packet's number. What an outage kept from coming is counted apart from what was lost on the way.
    fn count(&mut self, seq: u32) {
        let Some(newest) = self.newest.filter(|newest| *newest < seq) else {
            self.newest = self.newest.or(Some(seq));
            return;
        };
        if self.outage {
            self.stats.away += u64::from(seq - newest - 1);
            // Over an outage that only we have noticed something still comes now and then.
            self.outage = self.waiting;
        } else {
            self.gaps += u64::from(seq - newest > 1);
        }
        self.newest = Some(seq);
    }

    /// How many packets should have come so far.
    fn due_so_far(&self) -> u64 {
        self.newest.map_or(0, |newest| u64::from(newest) + 1).saturating_sub(self.stats.away)
    }

    /// RFC 3550, section 6.4.1: a running mean of the changes of transit time, with gain 1/16.
    fn measure_jitter(&mut self, seq: u32, now: Duration) {
        let due = self.frame.duration().as_micros() * u128::from(seq);
        let transit = i128::try_from(now.as_micros()).unwrap_or(0) - i128::try_from(due).unwrap_or(0);
        if let Some(before) = self.transit.replace(transit) {
            let change = u64::try_from((transit - before).unsigned_abs()).unwrap_or(u64::MAX);
            let change = Duration::from_micros(change);
            self.stats.jitter = (self.stats.jitter * 15 + change) / 16;
        }
    }

    fn tick(&mut self, now: Duration) {
        if let Some(connection) = &self.connection {
            match self.watch.look(connection, now) {
                Some(Change::Lost) => {
                    let _full = self.notes.tell(MediaNote::Lost);
                }
                Some(Change::Back) => {
                    let _full = self.notes.tell(MediaNote::Back);
                }
                None => {}
            }
        }
        let numbers = self.due_so_far();
        let counts = Counts { accepted: self.ears.accepted(), numbers, gaps: self.gaps };
        if let (Some(report), Some(out)) = (self.reports.due(counts, self.stats.jitter, now), &self.out) {
            let Report { lost_percent, jitter_ms, burst_tenths } = report;
            let quality = Message::Quality { call: out.call, lost_percent, jitter_ms, burst_tenths };
            let _full = out.tell(Input::Say(quality));
        }
        self.fill_stats();
        // Gauges may be missed when the application is slow; the next one is a fifth of a second away.
        let _missed = self.notes.tell(MediaNote::Tick(Box::new(self.stats.clone())));
    }

    fn fill_stats(&mut self) {
        let now = self.now();
        let otp = self.stats.sent_under == Suite::Otp;
        let left = self.out.as_ref().and_then(|out| out.sealer.packets_left(now));
        self.stats.packets_in_hand = otp.then(|| left.unwrap_or(0) as u64);
        self.stats.lasted = now.saturating_sub(self.taken_at);
        self.stats.received = self.ears.accepted();
        self.stats.received_under = self.ears.suite;
        self.stats.missing = self.due_so_far().saturating_sub(self.stats.received);
        self.stats.lost_percent = self.reports.lost_percent;
        self.stats.burst = f32::from(self.reports.burst_tenths) / 10.0;
        self.stats.refused = self.ears.refused();
        self.stats.playout = self.playout.stats();
        if let Some(connection) = &self.connection {
            self.stats.round_trip = connection.stats().rtt;
        }
        let depth = u32::try_from(self.stats.playout.jitter.depth).unwrap_or(u32::MAX);
        let frame = self.frame.duration();
        self.stats.buffered = frame.saturating_mul(depth);
        let look_ahead = u64::try_from(self.encoder.look_ahead()).unwrap_or(0) * 1_000_000;
        let look_ahead = Duration::from_micros(look_ahead / u64::from(vernam_audio::SAMPLE_RATE));
        self.stats.delay = frame + look_ahead + self.stats.round_trip / 2 + self.stats.buffered;
        self.stats.said_dbfs = self.gate.dbfs();
        self.stats.sending = self.gate.is_open();
    }
}

/// The next datagram; `None` when the connection is lost, never without one.
async fn read(connection: Option<&Connection>) -> Option<Bytes> {
    match connection {
        Some(connection) => connection.read_voice().await.ok(),
        None => std::future::pending().await,
    }
}

fn mix(pcm: &mut [i16], other: &[i16]) {
    for (sample, other) in pcm.iter_mut().zip(other) {
        *sample = sample.saturating_add(*other);
    }
}
