//! The sound of one call: capture, code, seal and send on a fixed clock; receive, open, buffer, decode and play.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use vernam_audio::{FrameLength, JitterSettings, PlayoutDecoder, VoiceEncoder};
use vernam_key::{Inbound, Outbound, Voice};
use vernam_quic::Connection;
use vernam_session::{
    CallTerms, FlowId, KeyBlock, KeyError, Refusal, Suite, VoiceOpener, VoiceSealer, voice_flow_of, voice_pad_len,
};

use crate::event::{CallProposal, CallStats, VoiceIo};
use crate::limits::{TICK, VOICE_BLOCK_PACKETS, VOICE_REFILL_BELOW};
use crate::peer::Input;

/// What the conversation's task tells a running call.
pub(crate) enum MediaInput {
    Outbound(KeyBlock<Outbound>),
    Inbound(KeyBlock<Inbound>),
    /// The stock is used up, or the peer has not the key.
    NoKey,
    /// There may be key again.
    NewStock,
    Stop,
}

/// What a call is made of.
pub(crate) struct MediaParts {
    pub(crate) call: u32,
    pub(crate) terms: CallTerms,
    pub(crate) codec: CallProposal,
    pub(crate) sealer: VoiceSealer,
    pub(crate) opener: VoiceOpener,
    pub(crate) connection: Connection,
    pub(crate) io: Box<dyn VoiceIo>,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) epoch: Instant,
}

/// Where the call's supply of outbound key stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Supply {
    /// More can be asked for.
    Open,
    /// The next block has been asked for.
    Asked,
    /// The stock is used up, or the peer has not the key.
    Over,
    /// The same, and the conversation's task was told that nothing is left to send with.
    OverAndTold,
}

/// One running call.
pub(crate) struct Media {
    parts: MediaParts,
    frame: FrameLength,
    encoder: VoiceEncoder,
    playout: PlayoutDecoder,
    pcm: Vec<i16>,
    packet: Vec<u8>,
    datagram: Vec<u8>,
    /// Whether a key was ever installed: capture begins with the first.
    began: bool,
    supply: Supply,
    /// The conversation's task was told that the call must end.
    failed: bool,
    newest: Option<u32>,
    transit: Option<i128>,
    stats: CallStats,
    taken_at: Duration,
    ticked_at: Duration,
}

impl Media {
    /// Fails where the codec cannot be made.
    pub(crate) fn new(parts: MediaParts) -> Result<Self, vernam_audio::Error> {
        let codec = parts.codec.codec;
        let frame = codec.frame();
        let encoder = VoiceEncoder::new(codec)?;
        let playout = PlayoutDecoder::new(JitterSettings::standard(frame))?;
        let taken_at = parts.epoch.elapsed();
        let stats = CallStats {
            terms: parts.terms,
            lasted: Duration::ZERO,
            sent: 0,
            unsent: 0,
            received: 0,
            missing: 0,
            refused: std::collections::BTreeMap::new(),
            stray: 0,
            playout: playout.stats(),
            jitter: Duration::ZERO,
            heard_dbfs: SILENCE_DBFS,
            packets_in_hand: None,
            key_outbound: 0,
            key_inbound: 0,
        };
        Ok(Self {
            frame,
            encoder,
            playout,
            pcm: vec![0; frame.samples()],
            packet: vec![0; codec.packet_len()],
            datagram: Vec::with_capacity(2_048),
            began: false,
            supply: Supply::Open,
            failed: false,
            newest: None,
            transit: None,
            stats,
            taken_at,
            ticked_at: taken_at,
            parts,
        })
    }

    /// Runs until it is told to stop, and says how the call went.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<MediaInput>) -> Box<CallStats> {
        // The fixed clock of the call: a packet a frame, whatever is said.
        let mut clock = interval(self.frame.duration());
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let connection = self.parts.connection.clone();
        let mut connected = true;
        loop {
            tokio::select! {
                biased;
                input = inputs.recv() => match input {
                    Some(MediaInput::Outbound(block)) => self.install_outbound(block),
                    Some(MediaInput::Inbound(block)) => self.install_inbound(block),
                    Some(MediaInput::NoKey) => self.supply = Supply::Over,
                    // Once it was told that the call must end, it must.
                    Some(MediaInput::NewStock) if self.supply == Supply::Over => self.supply = Supply::Open,
                    Some(MediaInput::NewStock) => {}
                    Some(MediaInput::Stop) | None => break,
                },
                _ = clock.tick() => self.frame(),
                datagram = connection.read_voice(), if connected => match datagram {
                    Ok(datagram) => self.receive(&datagram),
                    Err(_lost) => connected = false,
                },
            }
        }
        self.fill_stats();
        Box::new(self.stats)
    }

    fn now(&self) -> Duration {
        self.parts.epoch.elapsed()
    }

    fn install_outbound(&mut self, block: KeyBlock<Outbound>) {
        self.supply = Supply::Open;
        let len = block.material.len() as u64;
        match self.parts.sealer.install(block) {
            Ok(()) => {
                self.began = true;
                self.stats.key_outbound += len;
            }
            Err(error) => {
                tracing::warn!(%error, "a voice key could not be used");
                self.fail("a key for it could not be used");
            }
        }
    }

    fn install_inbound(&mut self, block: KeyBlock<Inbound>) {
        let len = block.material.len() as u64;
        match self.parts.opener.install(block) {
            Ok(()) => self.stats.key_inbound += len,
            Err(error) => {
                tracing::warn!(%error, "a voice key could not be used");
                self.fail("a key for it could not be used");
            }
        }
    }

    /// The call must end; said once.
    fn fail(&mut self, why: &'static str) {
        let input = Input::VoiceFailed(FlowId::of::<Voice>(self.parts.call), why);
        self.failed = self.failed || self.parts.inputs.try_send(input).is_ok();
    }

    /// One frame's time has passed.
    fn frame(&mut self) {
        let now = self.now();
        self.ask_for_key(now);
        if self.began {
            self.parts.io.capture(&mut self.pcm);
            if let Err(error) = self.send(now) {
                tracing::warn!(%error, "a frame could not be coded");
            }
        }
        match self.playout.pull(now, &mut self.pcm) {
            Ok(decision) => {
                self.parts.io.play(&self.pcm);
                self.parts.io.played(decision, now);
                self.hear();
            }
            Err(error) => tracing::warn!(%error, "a frame could not be decoded"),
        }
        if now.saturating_sub(self.ticked_at) >= TICK {
            self.ticked_at = now;
            self.fill_stats();
            // Gauges may be missed when the application is slow; the next one is a fifth of a second away.
            let _missed = self.parts.inputs.try_send(Input::CallTick(Box::new(self.stats.clone())));
        }
    }

    fn send(&mut self, now: Duration) -> Result<(), vernam_audio::Error> {
        self.encoder.encode(&self.pcm, &mut self.packet)?;
        match self.parts.sealer.seal(&self.packet, &mut self.datagram, now) {
            Ok(seq) => {
                // A lost connection is seen, and ended, by the conversation's task.
                if self.parts.connection.send_voice(Bytes::copy_from_slice(&self.datagram)).is_ok() {
                    self.stats.sent += 1;
                    self.parts.io.sent(seq, &self.packet, now);
                }
            }
            Err(KeyError::NeedKey) => {
                self.stats.unsent += 1;
                if self.supply == Supply::Over
                    && self.parts.inputs.try_send(Input::VoiceKeyOver(FlowId::of::<Voice>(self.parts.call))).is_ok()
                {
                    self.supply = Supply::OverAndTold;
                }
            }
            Err(error) => {
                self.stats.unsent += 1;
                tracing::warn!(%error, "a voice packet could not be sealed");
            }
        }
        Ok(())
    }

    fn ask_for_key(&mut self, now: Duration) {
        let left = self.parts.sealer.packets_left(now);
        let low = left.is_some_and(|left| left < VOICE_REFILL_BELOW);
        if !low || self.supply != Supply::Open {
            return;
        }
        let otp = self.parts.terms.suite == Suite::Otp;
        let frame_len = usize::from(self.parts.terms.packet_len);
        let len = if otp { voice_pad_len(frame_len, VOICE_BLOCK_PACKETS) } else { 32 };
        let next = u64::from(self.parts.sealer.next_seq()) + left.unwrap_or(0) as u64;
        let want = Input::WantKey {
            flow: FlowId::of::<Voice>(self.parts.call),
            suite: self.parts.terms.suite,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            first_seq: if otp { next } else { 0 },
        };
        if self.parts.inputs.try_send(want).is_ok() {
            self.supply = Supply::Asked;
        }
    }

    fn receive(&mut self, datagram: &[u8]) {
        if voice_flow_of(datagram) != Some(FlowId::of::<Voice>(self.parts.call)) {
            self.stats.stray += 1;
            return;
        }
        let now = self.now();
        self.datagram.clear();
        self.datagram.extend_from_slice(datagram);
        match self.parts.opener.open(&mut self.datagram) {
            Ok((seq, packet)) => {
                // Late and repeated packets are in the playout's own counts.
                let _fate = self.playout.push(seq, packet, now);
                self.newest = Some(self.newest.map_or(seq, |newest| newest.max(seq)));
                self.measure_jitter(seq, now);
            }
            // An honest network repeats and delays; only the rest is worth a report of its own.
            Err(Refusal::Replayed | Refusal::TooLate) => {}
            Err(Refusal::Closed) if self.failed => {}
            Err(Refusal::Closed) => self.fail("too many forged voice packets came"),
            Err(why) => {
                let _full = self.parts.inputs.try_send(Input::Refused(why));
            }
        }
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

    fn hear(&mut self) {
        let power: f64 = self.pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum();
        let samples = u32::try_from(self.frame.samples()).unwrap_or(u32::MAX);
        let rms = (power / f64::from(samples)).sqrt() / f64::from(i16::MAX);
        let level = if rms > 0.0 { (20.0 * rms.log10()).max(SILENCE_DBFS) } else { SILENCE_DBFS };
        // A meter that falls slower than it rises, as meters do.
        self.stats.heard_dbfs = level.max(self.stats.heard_dbfs - 2.0);
    }

    fn fill_stats(&mut self) {
        self.stats.packets_in_hand = self.parts.sealer.packets_left(self.now()).map(|left| left as u64);
        let opened = self.parts.opener.counters();
        self.stats.lasted = self.now().saturating_sub(self.taken_at);
        self.stats.received = opened.accepted;
        self.stats.missing = self.newest.map_or(0, |newest| u64::from(newest) + 1).saturating_sub(opened.accepted);
        self.stats.refused.clone_from(&opened.refused);
        self.stats.playout = self.playout.stats();
    }
}

/// Below the quietest sample of 16 bits.
const SILENCE_DBFS: f64 = -96.0;
