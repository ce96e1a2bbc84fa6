//! Records on a stream, through the session layer.

use std::time::Duration;

use vernam_key::File;
use vernam_session::limits::{AEAD_SEED_LEN, HASH_KEY_LEN, RECORD_HEADER_LEN, TAG_LEN};
use vernam_session::{RecordHeader, RecordOpener, RecordSealer, Suite};

use crate::flow::{self, block, context, exporter};
use crate::timing::{Case, Work, time};

const NOW: Duration = Duration::ZERO;

/// Seals a batch of records in place, as a file's sender does.
pub(crate) fn seal(suite: Suite, work: Work) -> Case<'static> {
    let plaintext = vec![1; RECORD_HEADER_LEN + work.bytes];
    Case::new(suite.name(), move || {
        let mut sealer = RecordSealer::<File>::new(context::<File>(), &exporter());
        let key = block::<File, _>(suite, 0, 0, &key_bytes(suite, work));
        let mut records: Vec<Vec<u8>> = (0..work.operations).map(|_| with_room(&plaintext)).collect();
        time(|| {
            sealer.install(key).expect("the first block");
            for record in &mut records {
                sealer.seal_in_place(record, false, NOW).expect("the key lasts for the batch");
                std::hint::black_box(record);
            }
        })
    })
}

/// Seals a batch of records out of one buffer into another, as for short texts.
pub(crate) fn seal_copying(suite: Suite, work: Work) -> Case<'static> {
    let plaintexts = vec![vec![1_u8; work.bytes]; work.operations];
    let mut out = Vec::new();
    Case::new(format!("{suite}, copying"), move || {
        let mut sealer = RecordSealer::<File>::new(context::<File>(), &exporter());
        let key = block::<File, _>(suite, 0, 0, &key_bytes(suite, work));
        time(|| {
            sealer.install(key).expect("the first block");
            for plaintext in &plaintexts {
                out.clear();
                sealer.seal(plaintext, false, &mut out, NOW).expect("the key lasts for the batch");
                std::hint::black_box(&mut out);
            }
        })
    })
}

/// Opens a batch of records in place.
pub(crate) fn open(suite: Suite, work: Work) -> Case<'static> {
    let mut sealer = RecordSealer::<File>::new(context::<File>(), &exporter());
    let key = block::<File, _>(suite, 0, 0, &key_bytes(suite, work));
    sealer.install(key).expect("the first block");
    let plaintext = vec![1_u8; work.bytes];
    let records: Vec<Vec<u8>> = std::iter::repeat_with(|| {
        let mut record = Vec::new();
        sealer.seal(&plaintext, false, &mut record, NOW).expect("the key lasts for the batch");
        record
    })
    .take(work.operations)
    .collect();
    Case::new(suite.name(), move || {
        let mut batch = records.clone();
        let key = block::<File, _>(suite, 0, 0, &key_bytes(suite, work));
        let mut opener = RecordOpener::<File>::new(context::<File>(), &exporter());
        time(|| {
            opener.install(key).expect("the first block");
            for record in &mut batch {
                let (header, body) = record.split_first_chunk_mut::<RECORD_HEADER_LEN>().expect("sealed above");
                let header = RecordHeader::parse(header).expect("sealed above");
                std::hint::black_box(opener.open(&header, body).expect("sealed above"));
            }
        })
    })
}

/// A copy with room behind it for the tag.
fn with_room(plaintext: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(plaintext.len() + TAG_LEN);
    record.extend_from_slice(plaintext);
    record
}

/// As much key as the batch takes.
fn key_bytes(suite: Suite, work: Work) -> Vec<u8> {
    let len = match suite {
        Suite::Otp => HASH_KEY_LEN + work.operations * (work.bytes + TAG_LEN),
        Suite::Aes256Gcm | Suite::ChaCha20Poly1305 => AEAD_SEED_LEN,
    };
    flow::key_bytes(len)
}
