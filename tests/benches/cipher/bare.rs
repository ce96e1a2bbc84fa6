//! What to compare with: a copy, and ring's AES-256-GCM with nothing around it.

use std::time::Duration;

use ring::aead;

use crate::timing::{Case, Work, time};

const HEADER: [u8; 48] = [3; 48];

/// Copies each record once.
pub(crate) fn copy(work: Work) -> Case<'static> {
    let from = vec![vec![1_u8; work.bytes]; work.operations];
    let mut to = vec![0; work.bytes];
    Case::new("memcpy", move || {
        time(|| {
            for record in &from {
                to.copy_from_slice(std::hint::black_box(record));
                std::hint::black_box(&mut to);
            }
        })
    })
}

/// Seals each record in place.
pub(crate) fn seal(work: Work) -> Case<'static> {
    let key = key();
    Case::new("ring AES-256-GCM, bare", move || {
        let mut records = vec![vec![1_u8; work.bytes]; work.operations];
        time(|| {
            for (number, record) in (0_u64..).zip(&mut records) {
                let tag = key.seal_in_place_separate_tag(nonce(number), aead::Aad::from(&HEADER), record);
                std::hint::black_box(tag.expect("the record is short").as_ref());
            }
        })
    })
}

/// Opens each record in place.
pub(crate) fn open(work: Work) -> Case<'static> {
    let key = key();
    let sealed: Vec<Vec<u8>> = (0_u64..)
        .take(work.operations)
        .map(|number| {
            let mut record = vec![1_u8; work.bytes];
            key.seal_in_place_append_tag(nonce(number), aead::Aad::from(&HEADER), &mut record)
                .expect("the record is short");
            record
        })
        .collect();
    Case::new("ring AES-256-GCM, bare", move || {
        let mut records = sealed.clone();
        let mut took = Duration::ZERO;
        took += time(|| {
            for (number, record) in (0_u64..).zip(&mut records) {
                let opened = key.open_in_place(nonce(number), aead::Aad::from(&HEADER), record);
                std::hint::black_box(opened.expect("it was sealed under this key").len());
            }
        });
        took
    })
}

fn key() -> aead::LessSafeKey {
    aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &[9; 32]).expect("a key of 32 bytes"))
}

fn nonce(number: u64) -> aead::Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    aead::Nonce::assume_unique_for_key(nonce)
}
