//! The least that a call can be: cpal in, Opus, UDP over loopback, Opus, cpal out. No encryption, no QUIC, no engine, no
//! jitter buffer, nothing that heeds clocks. One direction, in a process of its own, until it is ended.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::Context as _;
use cpal::traits::{DeviceTrait as _, HostTrait as _, StreamTrait as _};
use cpal::{BufferSize, Device, StreamConfig};
use opus::{Application, Bitrate, Channels};
use rtrb::RingBuffer;

/// The argument by which this program knows that it is to be the pipeline.
pub(crate) const NAME: &str = "call-bare";

const RATE: u32 = 48_000;
/// Samples asked for at a time: 10 ms, as `vernam` does.
const PERIOD: u32 = RATE / 100;
/// How long the coder's thread sleeps when there is nothing to do.
const NAP: Duration = Duration::from_millis(1);

/// `call-bare FRAME_MS MICROPHONE LOUDSPEAKER`.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    let [frame_ms, microphone, loudspeaker] = args else { anyhow::bail!("three arguments") };
    let frame = RATE as usize / 1_000 * frame_ms.parse::<usize>()?;
    let host = cpal::available_hosts().into_iter().find(|id| id.to_string().eq_ignore_ascii_case("pulseaudio"));
    let host = cpal::host_from_id(host.context("cpal has no PulseAudio")?)?;
    let named = |mut devices: Box<dyn Iterator<Item = Device>>, name: &str| {
        devices
            .find(|device| device.id().is_ok_and(|id| id.to_string() == name))
            .with_context(|| format!("no device {name}"))
    };
    let input = named(Box::new(host.input_devices()?), microphone)?;
    let output = named(Box::new(host.output_devices()?), loudspeaker)?;
    let config = StreamConfig { channels: 1, sample_rate: RATE, buffer_size: BufferSize::Fixed(PERIOD) };

    let (mut captured, mut to_send) = RingBuffer::<i16>::new(RATE as usize);
    let (mut received, mut to_play) = RingBuffer::<i16>::new(RATE as usize);
    let capture = move |sound: &[i16], _: &cpal::InputCallbackInfo| {
        for sample in sound {
            let _full = captured.push(*sample);
        }
    };
    let play = move |sound: &mut [i16], _: &cpal::OutputCallbackInfo| {
        // What piled up while the streams were opened would be delay for ever.
        while to_play.slots() > frame + sound.len() {
            let _too_old = to_play.pop();
        }
        for sample in sound {
            *sample = to_play.pop().unwrap_or(0);
        }
    };
    let ignore = |_error: cpal::Error| {};
    let heard = input.build_input_stream(config, capture, ignore, None)?;
    let played = output.build_output_stream(config, play, ignore, None)?;
    heard.play()?;
    played.play()?;

    let (near, far) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    near.connect(far.local_addr()?)?;
    std::thread::spawn(move || {
        let mut decoder = opus::Decoder::new(RATE, Channels::Mono)?;
        let (mut packet, mut pcm) = (vec![0; 1_500], vec![0; frame]);
        loop {
            let len = far.recv(&mut packet)?;
            let samples = decoder.decode(&packet[..len], &mut pcm, false)?;
            for sample in &pcm[..samples] {
                let _full = received.push(*sample);
            }
        }
        #[expect(unreachable_code, reason = "tells the closure's type")]
        anyhow::Ok(())
    });
    let mut encoder = opus::Encoder::new(RATE, Channels::Mono, Application::Voip)?;
    encoder.set_vbr(false)?;
    encoder.set_bitrate(Bitrate::Bits(if frame_ms == "10" { 48_000 } else { 32_000 }))?;
    let (mut pcm, mut packet) = (vec![0; frame], vec![0; 1_500]);
    loop {
        while to_send.slots() >= frame {
            for sample in &mut pcm {
                *sample = to_send.pop()?;
            }
            let len = encoder.encode(&pcm, &mut packet)?;
            let _lost = near.send(&packet[..len]);
        }
        std::thread::sleep(NAP);
    }
}
