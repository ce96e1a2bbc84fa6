//! A made-up run, the same every time, for tests of what shows a run. No key, no sound, no network.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small made-up numbers"
)]

use std::time::Duration;

use vernam::demo::{
    events::{
        Act, CallTick, DemoEvent, EndReason, FileProgress, FileState, Kme, KmeState, LinkBlock, LinkLight, Person,
        Plan, Stamped, StockLevel, Suite, TextState,
    },
    model::Model,
    summary::{CallSummary, FileSummary, Flow, FlowSpend, Holding, KeyBook, Percentiles, Summary, VoiceSummary},
};

/// When what is interesting happens, seconds.
pub(crate) const MID_FILE: f64 = 17.6;
pub(crate) const IN_AES: f64 = 35.0;
pub(crate) const IN_ALARM: f64 = 62.0;
pub(crate) const END: f64 = 73.0;

/// A number from 0 to 1 that looks random and is not.
fn noise(step: u64) -> f64 {
    let mut mixed = step.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Three decimals, which JSON gives back exactly.
fn short(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

pub(crate) fn plan() -> Plan {
    Plan {
        acts: vec![Act::Setup, Act::OneTimePad, Act::Aes, Act::ChaCha, Act::Eavesdropper, Act::Summing],
        length_km: 25.0,
        extra_loss_db: 1.0,
        device: "metro-40mhz".into(),
        bit_rate_bps: 24_000,
        frame_ms: 20,
        loss_percent: 1.0,
        delay_ms: 10.0,
        jitter_ms: 2.0,
        seed: 7,
        duration_s: 75.0,
        file_bytes: 5_000_000,
    }
}

/// The whole run.
pub(crate) fn story() -> Vec<Stamped> {
    let mut events = Vec::new();
    let mut at = |seconds: f64, event| events.push(Stamped { at: Duration::from_secs_f64(seconds), event });
    at(0.0, DemoEvent::Started(plan()));
    at(0.0, DemoEvent::ActBegan { act: Act::Setup });
    at(0.2, DemoEvent::CertificatesMade { certificates: 4 });
    at(0.3, DemoEvent::KmeUp { kme: Kme::A, port: 45_101 });
    at(0.3, DemoEvent::KmeUp { kme: Kme::B, port: 45_102 });
    for step in 0..=10_u32 {
        let hours = short(f64::from(step) * 0.3);
        let blocks = u64::from(step) * 100;
        let event = DemoEvent::RunAhead { hours, of_hours: 3.0, blocks, key_bits: blocks * 112_000 };
        at(0.5 + f64::from(step) * 0.2, event);
    }
    let connected =
        DemoEvent::Connected { key_exchange: "X25519MLKEM768".into(), cipher: "TLS_AES_256_GCM_SHA384".into() };
    at(3.2, connected);
    at(3.4, DemoEvent::KeysConfirmed { who: Person::Alice });
    at(3.4, DemoEvent::KeysConfirmed { who: Person::Bob });
    at(3.5, DemoEvent::ActEnded { act: Act::Setup });
    let calls = [
        (1, Act::OneTimePad, Suite::Otp, 5.0, 29.0),
        (2, Act::Aes, Suite::Aes256Gcm, 30.5, 41.0),
        (3, Act::ChaCha, Suite::ChaCha20Poly1305, 42.5, 53.0),
        (4, Act::Eavesdropper, Suite::Otp, 54.5, 70.0),
    ];
    for (call, act, suite, from, to) in calls {
        at(from - 1.4, DemoEvent::ActBegan { act });
        at(from - 1.2, DemoEvent::Ringing { call, caller: Person::Alice, suite });
        at(from, DemoEvent::Answered { call, suite });
        let reason = match call {
            4 => EndReason::OutOfKey { who: Person::Alice },
            _ => EndReason::HungUp { by: Person::Alice },
        };
        at(to, DemoEvent::CallEnded { call, reason, lasted_s: short(to - from) });
        at(to + 0.05, DemoEvent::ActEnded { act });
        let mut time = from + 0.2;
        while time < to {
            for who in Person::BOTH {
                at(time, DemoEvent::CallTick(tick(who, call, suite, time - from)));
            }
            time += 0.2;
        }
    }
    link(&mut at);
    beside(&mut at);
    at(70.5, DemoEvent::ActBegan { act: Act::Summing });
    at(END, DemoEvent::Summary(Box::new(summary().checked(Duration::from_secs_f64(END)))));
    events.sort_by_key(|stamped| stamped.at);
    events
}

fn tick(who: Person, call: u8, suite: Suite, time: f64) -> CallTick {
    let step = (time * 5.0).round() as u64;
    let talks = (time * 0.9 + who.index() as f64 * 3.0).sin() > -0.2;
    let word = (time * 6.1 + who.index() as f64).sin().abs() * 0.7 + 0.3 * noise(step * 2 + who.index() as u64);
    let frames = (time * 50.0) as u64;
    let lost = frames / 97;
    CallTick {
        who,
        call,
        time_s: short(time),
        suite,
        bit_rate_bps: 24_000,
        sent: frames,
        received: frames - lost,
        lost,
        rejected: 0,
        concealed: lost,
        delay_p50_ms: short(61.0 + 2.0 * noise(step)),
        delay_p95_ms: short(68.0 + 4.0 * noise(step + 9)),
        jitter_ms: short(1.6 + noise(step + 5)),
        buffer_ms: 40.0,
        heard_dbfs: if talks { short(-46.0 + 36.0 * word) } else { -70.0 },
        key_used_bytes: if suite == Suite::Otp { frames * 68 } else { 64 },
    }
}

fn link(at: &mut impl FnMut(f64, DemoEvent)) {
    for block in 0..120_u64 {
        let time = 4.0 + block as f64 * 0.55;
        let tapped = (58.0..69.0).contains(&time);
        let climbing = if tapped { ((time - 58.0) / 1.5).min(1.0) } else { 0.0 };
        let qber = short(0.021 + 0.006 * noise(block) + climbing * 0.228);
        at(
            time,
            DemoEvent::LinkLight(LinkLight { block, pulses: 340_000_000, sifted_bits: 21_000, qber, threshold: 0.11 }),
        );
        if qber > 0.11 {
            at(time, DemoEvent::BlockDiscarded {
                block,
                sifted_bits: 21_000,
                qber,
                threshold: 0.11,
                reason: format!(
                    "error rate {:.1} % is over 11 %: somebody measures the photons on the way; this key is not used",
                    qber * 100.0
                )
                .into(),
            });
        } else {
            let rate_bps = short(10_300.0 + 1_400.0 * noise(block + 50) - climbing * 6_000.0);
            at(
                time,
                DemoEvent::LinkBlock(LinkBlock {
                    block,
                    pulses: 340_000_000,
                    sifted_bits: 21_000,
                    qber,
                    threshold: 0.11,
                    key_bits: (rate_bps * 0.55) as u64,
                    rate_bps,
                }),
            );
        }
        let (state, reason) = if qber > 0.11 {
            (KmeState::Refusing, Some("the link is in alarm".into()))
        } else {
            (KmeState::Delivering, None)
        };
        for kme in [Kme::A, Kme::B] {
            at(time, DemoEvent::KmeStatus { kme, state, pool_bits: 800_000 - block * 900, reason: reason.clone() });
        }
    }
    at(58.0, DemoEvent::Eavesdropper { on: true, share: 1.0 });
    at(69.0, DemoEvent::Eavesdropper { on: false, share: 0.0 });
}

fn beside(at: &mut impl FnMut(f64, DemoEvent)) {
    for step in 0..140_u32 {
        let time = 3.0 + f64::from(step) * 0.5;
        let used = match time {
            t if t < 14.0 => (t - 3.0) * 4_000.0,
            t if t < 20.0 => 44_000.0 + (t - 14.0) * 860_000.0,
            t if t < 56.0 => 5_204_000.0 + (t - 20.0) * 1_500.0,
            t => 5_258_000.0 + (t - 56.0) * 9_000.0,
        };
        let level = |factor: f64| {
            let bytes = (5_400_000.0 - used * factor).max(0.0) as u64;
            StockLevel { bytes, mark_bytes: 5_400_000, talk_s: short(bytes as f64 / 4_000.0) }
        };
        let (much, little) = (level(1.0), level(0.02));
        at(time, DemoEvent::Stock { who: Person::Alice, send: much, receive: little });
        at(time, DemoEvent::Stock { who: Person::Bob, send: little, receive: much });
    }
    let file = |state, done_bytes, elapsed_s| {
        DemoEvent::File(FileProgress {
            from: Person::Alice,
            name: "plans.tar".into(),
            state,
            suite: Suite::Otp,
            done_bytes,
            total_bytes: 5_000_000,
            elapsed_s,
        })
    };
    at(13.8, file(FileState::Offered, 0, 0.0));
    for step in 0..60_u32 {
        let time = 14.0 + f64::from(step) * 0.1;
        at(time, file(FileState::Moving, u64::from(step) * 83_000, short(time - 13.9)));
    }
    at(20.0, file(FileState::Done, 5_000_000, 6.1));
    let states = [(16.0, TextState::Sent), (16.1, TextState::Delivered), (17.2, TextState::Read)];
    for (time, state) in states {
        let text = "The plans are on their way.".into();
        at(time, DemoEvent::Text { from: Person::Alice, state, suite: Suite::Otp, text });
    }
    at(61.0, DemoEvent::Warning { who: None, text: "no new key: the link is tapped; 25 s of talk left".into() });
}

/// Sums that are right.
pub(crate) fn summary() -> Summary {
    let book = |from, file| {
        let spent = vec![
            FlowSpend { flow: Flow::Handshake, suite: Suite::Otp, bits: 512 },
            FlowSpend { flow: Flow::Control, suite: Suite::Otp, bits: 21_504 },
            FlowSpend { flow: Flow::Voice, suite: Suite::Otp, bits: 1_075_200 },
            FlowSpend { flow: Flow::Voice, suite: Suite::Aes256Gcm, bits: 256 },
            FlowSpend { flow: Flow::File, suite: Suite::Otp, bits: file },
        ];
        let holding = Holding { spent, forfeited_bits: 2_048, in_stock_bits: 43_008, not_collected_bits: 0 };
        let delivered_bits = 512 + 21_504 + 1_075_200 + 256 + file + 2_048 + 43_008;
        KeyBook {
            from,
            made_bits: delivered_bits + 800_000,
            in_pool_bits: 800_000,
            delivered_bits,
            sender: holding.clone(),
            receiver: holding,
        }
    };
    let voice = |from, lost| VoiceSummary {
        from,
        sent: 1200,
        received: 1200 - lost,
        lost,
        rejected: 0,
        concealed: lost,
        datagram_bytes: 79,
        delay: Percentiles { p50_ms: 61.2, p95_ms: 68.9, p99_ms: 73.4 },
        identical: (lost == 0).then_some(true),
        wav: Some("call-1-heard.wav".into()),
    };
    let call = |call, suite, tapped, reason| CallSummary {
        call,
        suite,
        tapped,
        lasted_s: 24.0,
        reason,
        directions: vec![voice(Person::Alice, 0), voice(Person::Bob, 12)],
    };
    Summary {
        books: vec![book(Person::Alice, 40_100_000), book(Person::Bob, 0)],
        discarded_sifted_bits: 399_000,
        calls: vec![
            call(1, Suite::Otp, false, EndReason::HungUp { by: Person::Alice }),
            call(2, Suite::Aes256Gcm, false, EndReason::HungUp { by: Person::Alice }),
            call(3, Suite::ChaCha20Poly1305, false, EndReason::HungUp { by: Person::Alice }),
            call(4, Suite::Otp, true, EndReason::OutOfKey { who: Person::Alice }),
        ],
        files: vec![FileSummary {
            name: "plans.tar".into(),
            from: Person::Alice,
            suite: Suite::Otp,
            bytes: 5_000_000,
            seconds: 6.1,
            hash_equal: true,
        }],
        out_dir: "out".to_owned(),
        ..Summary::default()
    }
}

/// The model as it stands at a moment of the story.
pub(crate) fn model_at(seconds: f64) -> Model {
    let now = Duration::from_secs_f64(seconds);
    let mut model = Model::default();
    for stamped in story().iter().take_while(|stamped| stamped.at <= now) {
        model.apply(stamped);
    }
    model.tick(now);
    model
}
