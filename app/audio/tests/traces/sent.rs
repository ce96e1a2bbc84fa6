//! What is sent: real packets of speech, and what a receiver can know of each.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use vernam_audio::codec::has_recovery;
use vernam_audio::{AtEnd, CodecSettings, Speech, VoiceDecoder, VoiceEncoder};

/// Six seconds of speech in packets, which are sent again and again.
pub(crate) struct Sent {
    packets: Vec<Vec<u8>>,
    /// The root mean square of each packet's sound.
    levels: Vec<f64>,
    /// For how many frames before its own each packet can stand in.
    reaches: Vec<u32>,
}

impl Sent {
    fn make(codec: CodecSettings) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/speech/reader.wav");
        let mut encoder = VoiceEncoder::new(codec).unwrap();
        let count = usize::try_from(codec.frame().frames_in(Duration::from_secs(6))).unwrap();
        let packets: Vec<_> = Speech::load(path)
            .unwrap()
            .frames(codec.frame(), AtEnd::Loop)
            .take(count)
            .map(|pcm| {
                let mut packet = vec![0; codec.packet_len()];
                encoder.encode(&pcm, &mut packet).unwrap();
                packet
            })
            .collect();
        let levels = levels(codec, &packets);
        let reaches = packets.iter().map(|packet| reach(codec, packet)).collect();
        Self { packets, levels, reaches }
    }

    /// The packet sent under this number.
    pub(crate) fn packet(&self, seq: u32) -> &[u8] {
        &self.packets[seq as usize % self.packets.len()]
    }

    /// The level of its sound.
    pub(crate) fn level(&self, seq: u32) -> f64 {
        self.levels[seq as usize % self.levels.len()]
    }

    /// For how many frames before its own it can stand in.
    pub(crate) fn reach(&self, seq: u32) -> u32 {
        self.reaches[seq as usize % self.reaches.len()]
    }
}

/// What is sent with these settings, made once.
pub(crate) fn sent(codec: CodecSettings) -> &'static Sent {
    static SENT: Mutex<Option<HashMap<CodecSettings, &'static Sent>>> = Mutex::new(None);
    let mut sent = SENT.lock().unwrap();
    sent.get_or_insert_default().entry(codec).or_insert_with(|| Box::leak(Box::new(Sent::make(codec))))
}

fn levels(codec: CodecSettings, packets: &[Vec<u8>]) -> Vec<f64> {
    let mut decoder = VoiceDecoder::new(codec.frame()).unwrap();
    let mut pcm = vec![0; codec.frame().samples()];
    packets
        .iter()
        .map(|packet| {
            decoder.decode(packet, &mut pcm).unwrap();
            let power: f64 = pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum();
            (power / pcm.len() as f64).sqrt()
        })
        .collect()
}

fn reach(codec: CodecSettings, packet: &[u8]) -> u32 {
    let coarse = u32::from(has_recovery(packet));
    if codec.dred().is_zero() {
        return coarse;
    }
    // What it does to this decoder is of no concern: whether there is something to revive depends on the packet alone.
    let mut decoder = VoiceDecoder::new(codec.frame()).unwrap();
    let mut pcm = vec![0; codec.frame().samples()];
    let deep = (2..=8).take_while(|before| decoder.revive(packet, *before, &mut pcm).unwrap()).last();
    deep.unwrap_or(coarse)
}
