//! Voice datagrams, through the session layer.

use std::time::Duration;

use vernam_key::{Direction, Inbound, Outbound, Voice};
use vernam_session::limits::{AEAD_SEED_LEN, MAX_WAITING_BLOCKS};
use vernam_session::{KeyBlock, Suite, VoiceOpener, VoiceSealer, voice_pad_len};

use crate::flow::{block, context, exporter, key_bytes};
use crate::timing::{Case, time};

/// Bytes of a frame: Opus at 16 kb/s and 20 ms.
pub(crate) const FRAME: usize = 40;
/// Packets a batch.
pub(crate) const PACKETS: usize = BLOCKS * PACKETS_A_BLOCK;

/// Under one-time pad a call takes its pad by blocks of two seconds.
const PACKETS_A_BLOCK: usize = 100;
const BLOCKS: usize = MAX_WAITING_BLOCKS;
const NOW: Duration = Duration::ZERO;

/// Seals a batch of frames.
pub(crate) fn seal(suite: Suite) -> Case<'static> {
    let mut out = Vec::new();
    Case::new(suite.name(), move || {
        let blocks = blocks::<Outbound>(suite);
        let mut sealer = sealer(suite);
        time(|| {
            for block in blocks {
                sealer.install(block).expect("blocks come in turn");
            }
            for _packet in 0..PACKETS {
                sealer.seal(std::hint::black_box(&[1; FRAME]), &mut out, NOW).expect("the key lasts for the batch");
                std::hint::black_box(&mut out);
            }
        })
    })
}

/// Opens a batch of datagrams.
pub(crate) fn open(suite: Suite) -> Case<'static> {
    let mut sealer = sealer(suite);
    for block in blocks::<Outbound>(suite) {
        sealer.install(block).expect("blocks come in turn");
    }
    let recorded: Vec<Vec<u8>> = std::iter::repeat_with(|| {
        let mut datagram = Vec::new();
        sealer.seal(&[1; FRAME], &mut datagram, NOW).expect("the key lasts for the batch");
        datagram
    })
    .take(PACKETS)
    .collect();
    Case::new(suite.name(), move || {
        let mut datagrams = recorded.clone();
        let blocks = blocks::<Inbound>(suite);
        let mut opener = VoiceOpener::new(context::<Voice>(), suite, FRAME, &exporter()).expect("the frame is short");
        time(|| {
            for block in blocks {
                opener.install(block).expect("blocks come in turn");
            }
            for datagram in &mut datagrams {
                std::hint::black_box(opener.open(datagram).expect("sealed above"));
            }
        })
    })
}

fn sealer(suite: Suite) -> VoiceSealer {
    VoiceSealer::new(context::<Voice>(), suite, FRAME, &exporter()).expect("the frame is short")
}

/// Pad in blocks of two seconds, or one AEAD key, which would last for a minute.
fn blocks<D: Direction>(suite: Suite) -> Vec<KeyBlock<D>> {
    let block = |generation, first_seq, len| block::<Voice, D>(suite, generation, first_seq, &key_bytes(len));
    if suite != Suite::Otp {
        return vec![block(0, 0, AEAD_SEED_LEN)];
    }
    let firsts = (0_u64..).step_by(PACKETS_A_BLOCK);
    let numbered = (0..).zip(firsts).take(BLOCKS);
    numbered.map(|(generation, first)| block(generation, first, voice_pad_len(FRAME, PACKETS_A_BLOCK))).collect()
}
