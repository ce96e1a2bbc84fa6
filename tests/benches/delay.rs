//! The demo's call delay, from the first sample of a frame captured to the beginning of its playing, beside a bare
//! pipeline in the same process: the same frames, codec, jitter buffer and clocks, without encryption, QUIC or engine.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use vernam::cli::{self, Action};
use vernam::demo::summary::Summary;
use vernam::demo::{Cancel, EventSink, run};
use vernam_audio::{AtEnd, CodecSettings, Decision, JitterSettings, PlayoutDecoder, Speech, VoiceEncoder};

use crate::timing::median;

/// Seconds of talk on the bare pipeline; the demo's call is about as long.
const TALK: Duration = Duration::from_secs(8);

pub(crate) fn run() {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return println!("the call delay cannot be measured: {error}"),
    };
    match runtime.block_on(measure()) {
        Ok(table) => println!("{table}"),
        Err(error) => println!("the call delay cannot be measured: {error:#}"),
    }
}

async fn measure() -> anyhow::Result<String> {
    let bare = percentiles(bare().await?);
    let summary = demo().await?;
    let voices: Vec<_> = summary.calls.iter().flat_map(|call| &call.directions).collect();
    let of = |value: fn(&vernam::demo::summary::Percentiles) -> f64| {
        median(voices.iter().map(|voice| value(&voice.delay)).collect())
    };
    let called = [of(|delay| delay.p50_ms), of(|delay| delay.p95_ms), of(|delay| delay.p99_ms)];
    let row = |name: &str, at: [f64; 3]| {
        let ratio = at[0] / bare[0].max(f64::MIN_POSITIVE);
        format!("  {name:<44} {:>6.1} {:>6.1} {:>6.1} ms  {ratio:>5.2} x\n", at[0], at[1], at[2])
    };
    Ok(format!(
        "call delay, capture to playout, 20 ms frames, loopback          p50    p95    p99  p50 beside the first\n{}{}",
        row("bare pipeline, a queue in one process", bare),
        row("demo call under otp, two clients over QUIC", called),
    ))
}

/// Frames over a queue: what the codec's frame, the jitter buffer and two clocks out of step cost by themselves.
async fn bare() -> anyhow::Result<Vec<f64>> {
    let codec = CodecSettings::one_time_pad();
    let frame = codec.frame();
    let speech = Speech::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/speech/reader.wav"))?;
    let (packets, mut received) = mpsc::channel::<(u32, Vec<u8>, Instant)>(64);
    let frames = u32::try_from(frame.frames_in(TALK))?;
    let sender = tokio::spawn(async move {
        let mut encoder = VoiceEncoder::new(codec)?;
        let mut source = speech.frames(frame, AtEnd::Loop);
        let (mut pcm, mut packet) = (vec![0; frame.samples()], vec![0; codec.packet_len()]);
        let mut clock = interval(frame.duration());
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for seq in 0..frames {
            clock.tick().await;
            let captured = Instant::now();
            let _more = source.next_into(&mut pcm);
            encoder.encode(&pcm, &mut packet)?;
            packets.send((seq, packet.clone(), captured)).await?;
        }
        anyhow::Ok(())
    });
    let epoch = Instant::now();
    let mut playout = PlayoutDecoder::new(JitterSettings::standard(frame))?;
    let (mut pcm, mut captured, mut delays) = (vec![0; frame.samples()], Vec::new(), Vec::new());
    // Samples that the decisions made, and samples pulled.
    let (mut made, mut given) = (0_i64, 0_i64);
    let mut clock = interval(frame.duration());
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            biased;
            _ = clock.tick() => {
                let now = Instant::now();
                for decision in playout.pull(epoch.elapsed(), &mut pcm)? {
                    // A packet's sound begins after what was made before it and not played yet.
                    let ahead = Duration::from_micros((made - given).max(0).unsigned_abs() * 1_000 / 48);
                    if let Decision::Packet(seq) = decision && let Some(at) = captured.get(*seq as usize) {
                        delays.push((now.duration_since(*at) + ahead + frame.duration()).as_secs_f64() * 1e3);
                    }
                    made += decision.samples(frame);
                }
                given += i64::try_from(frame.samples())?;
            }
            packet = received.recv() => match packet {
                Some((seq, packet, at)) => {
                    captured.push(at);
                    let _fate = playout.push(seq, &packet, epoch.elapsed());
                }
                None => break,
            },
        }
    }
    sender.await??;
    Ok(delays)
}

async fn demo() -> anyhow::Result<Summary> {
    let arguments = ["vernam", "demo", "--suite", "otp", "--no-eve", "--duration", "20", "--file-size", "1kB"];
    let Action::Demo(options) = cli::parse(arguments)?.action else { anyhow::bail!("there is a demo") };
    let out = tempfile::tempdir()?;
    let (sink, mut events) = EventSink::new();
    let watcher = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let summary = run::run(&options, out.path(), &sink, &Cancel::default()).await?;
    drop(sink);
    watcher.await?;
    Ok(summary)
}

fn percentiles(mut delays: Vec<f64>) -> [f64; 3] {
    delays.sort_by(f64::total_cmp);
    [50, 95, 99].map(|share| {
        let rank = (delays.len() * share).div_ceil(100).max(1) - 1;
        delays.get(rank).copied().unwrap_or_default()
    })
}
