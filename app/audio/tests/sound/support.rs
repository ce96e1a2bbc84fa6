//! A private `PulseAudio` with loudspeakers that lead nowhere, and a call's pace.
//!
//! A process cannot change its own environment safely, so a test starts itself again as a child whose environment
//! knows no sound system but the one it will start. Without `PulseAudio` the tests say so and pass.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vernam_audio::device::{Choice, Handset, HandsetControl, HandsetEvent, HandsetSettings, Part};
use vernam_audio::process::Processing;
use vernam_audio::{FrameLength, SAMPLE_RATE};

pub(crate) const TONE_HZ: f64 = 997.0;
pub(crate) const TONE_PEAK: f64 = 16_384.0;
/// Far beyond anything that works.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Ends its process, and only that, when dropped.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the ignored test of this name in a child process, in an environment of its own.
pub(crate) fn inside(test: &str) {
    for tool in ["pulseaudio", "pactl", "parec"] {
        if Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            println!("skipped: {tool} is not installed (apt install pulseaudio pulseaudio-utils)");
            return;
        }
    }
    let directory = tempfile::tempdir().unwrap();
    assert!(child(test, directory.path()).status().unwrap().success(), "{test} failed, see above");
}

/// The command that runs the ignored test of this name without any sound system.
pub(crate) fn child(test: &str, directory: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--ignored", "--nocapture"]);
    for name in ["PULSE_RUNTIME_PATH", "PULSE_STATE_PATH", "PULSE_CONFIG_PATH", "XDG_RUNTIME_DIR", "HOME"] {
        child.env(name, directory);
    }
    let server = format!("unix:{}", directory.join("native").display());
    child.env("PULSE_SERVER", server).env("PULSE_COOKIE", directory.join("cookie"));
    child
}

/// A sound server, in a child process of [`inside`].
pub(crate) struct Server {
    directory: PathBuf,
    script: String,
    process: Option<Ended>,
}

impl Server {
    /// Starts one with these commands.
    pub(crate) fn start(commands: &[String]) -> Self {
        let directory = PathBuf::from(std::env::var("XDG_RUNTIME_DIR").unwrap());
        let socket = directory.join("native");
        let mut script =
            format!(".fail\nload-module module-native-protocol-unix auth-anonymous=1 socket={}\n", socket.display());
        for command in commands {
            script.push_str(command);
            script.push('\n');
        }
        let mut server = Self { directory, script, process: None };
        server.restart();
        server
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
        // What a killed server leaves behind, its successor would take for a running one.
        let _ = std::fs::remove_file(self.directory.join("native"));
    }

    pub(crate) fn restart(&mut self) {
        let start = self.directory.join("start.pa");
        std::fs::write(&start, &self.script).unwrap();
        let mut server = Command::new("pulseaudio");
        server.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--enable-memfd=no"]);
        server.args(["--log-level=error", "-F"]).arg(start).stderr(Stdio::null());
        self.process = Some(Ended(server.spawn().unwrap()));
        let begin = Instant::now();
        while !Command::new("pactl").arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
        {
            assert!(begin.elapsed() < DEADLINE, "PulseAudio does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What `pactl` says to this.
    #[expect(clippy::unused_self, reason = "a server must run")]
    pub(crate) fn pactl(&self, command: &str) -> String {
        let output = Command::new("pactl").args(command.split(' ')).output().unwrap();
        assert!(output.status.success(), "pactl {command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Plugs a device in; what to hand to [`Self::unplug`].
    pub(crate) fn plug(&self, module: &str) -> String {
        self.pactl(&format!("load-module {module}"))
    }

    pub(crate) fn unplug(&self, module: &str) {
        self.pactl(&format!("unload-module {module}"));
    }
}

/// A loudspeaker that leads nowhere but to its monitor.
pub(crate) fn sink(name: &str, rate: u32, channels: u8) -> String {
    format!(
        "module-null-sink sink_name={name} sink_properties=device.description={name} rate={rate} channels={channels} \
         format=s16le norewinds=1"
    )
}

/// A microphone that hears what a loudspeaker plays, and is no monitor.
pub(crate) fn source(name: &str, hears: &str, rate: u32, channels: u8) -> String {
    let map = if channels == 1 { "mono" } else { "front-left,front-right" };
    format!(
        "module-remap-source source_name={name} source_properties=device.description={name} master={hears}.monitor \
         rate={rate} channels={channels} channel_map={map}"
    )
}

pub(crate) fn load(module: &str) -> String {
    format!("load-module {module}")
}

pub(crate) fn id(name: &str) -> Choice {
    Choice::Id(format!("pulseaudio:{name}"))
}

/// A sine that goes on where it stopped.
pub(crate) struct Sine {
    hz: f64,
    at: u32,
}

impl Sine {
    pub(crate) fn new(hz: f64) -> Self {
        Self { hz, at: 0 }
    }

    pub(crate) fn fill(&mut self, pcm: &mut [i16]) {
        for place in pcm {
            *place = (TONE_PEAK * (TAU * self.hz * f64::from(self.at) / f64::from(SAMPLE_RATE)).sin()) as i16;
            self.at += 1;
        }
    }
}

/// Of a piece of sound: the tone's peak, and what is not the tone, in dB below it. A gap or click would show.
pub(crate) fn measure(sound: &[i16], hz: f64) -> (f64, f64) {
    let angle = |index: usize| TAU * hz * index as f64 / f64::from(SAMPLE_RATE);
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (index, &sample) in sound.iter().enumerate() {
        sine += f64::from(sample) * angle(index).sin();
        cosine += f64::from(sample) * angle(index).cos();
    }
    let scale = 2.0 / sound.len() as f64;
    let (sine, cosine) = (sine * scale, cosine * scale);
    let rest: f64 = sound
        .iter()
        .enumerate()
        .map(|(index, &sample)| (f64::from(sample) - sine * angle(index).sin() - cosine * angle(index).cos()).powi(2))
        .sum();
    let peak = sine.hypot(cosine);
    (peak, 10.0 * (peak * peak / 2.0 / (rest / sound.len() as f64).max(1e-9)).log10())
}

/// The pitch of a piece of sound in which there is a tone of about [`TONE_HZ`]: by how far the phase of its second
/// half is from where the first half's would be.
fn pitch(sound: &[i16]) -> f64 {
    let mut hz = TONE_HZ;
    for _ in 0..3 {
        let phase = |half: &[i16], from: usize| {
            let angle = |index: usize| TAU * hz * (from + index) as f64 / f64::from(SAMPLE_RATE);
            let (mut sine, mut cosine) = (0.0, 0.0);
            for (index, &sample) in half.iter().enumerate() {
                sine += f64::from(sample) * angle(index).sin();
                cosine += f64::from(sample) * angle(index).cos();
            }
            cosine.atan2(sine)
        };
        let (first, second) = sound.split_at(sound.len() / 2);
        let turned = phase(second, first.len()) - phase(first, 0);
        let turned = (turned + TAU / 2.0).rem_euclid(TAU) - TAU / 2.0;
        hz += turned / TAU / (first.len() as f64 / f64::from(SAMPLE_RATE));
    }
    hz
}

/// Checks the best piece of a recording of the tone: its level and pitch, and that it is nothing but the tone.
///
/// The best of them, because a loaded machine may well play a gap now and then; its own pitch, because a clock that
/// is followed moves it a little.
pub(crate) fn check_tone(recording: &[i16], piece: usize, least: f64, who: &str) {
    let (peak, clean, hz) = recording
        .windows(piece)
        .step_by((piece / 10).max(1))
        .map(|sound| {
            let hz = pitch(sound);
            let (peak, clean) = measure(sound, hz);
            (peak, clean, hz)
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("enough was recorded");
    println!("{who}: {hz:.2} Hz at {peak:.0} of {TONE_PEAK:.0}, everything else {clean:.1} dB below it");
    assert!((peak / TONE_PEAK).log10().abs() * 20.0 < 0.5, "{who}: level {peak}");
    assert!((hz / TONE_HZ - 1.0).abs() < 0.006, "{who}: {hz} Hz");
    assert!(clean > least, "{who}: {clean} dB");
}

/// A handset that is used as a call uses it: a frame each frame's time.
pub(crate) struct Call {
    handset: Handset,
    pub(crate) control: HandsetControl,
    pub(crate) events: Vec<HandsetEvent>,
    due: Instant,
    tone: Option<Sine>,
}

/// Frames of the calls here: 10 ms.
pub(crate) const FRAME: usize = SAMPLE_RATE as usize / 100;

impl Call {
    pub(crate) fn new(microphone: Choice, speaker: Choice) -> Self {
        let off =
            Processing { echo_cancelling: false, high_pass: false, gain_control: false, noise_suppression: false };
        let settings = HandsetSettings { microphone, speaker, ringer: Choice::Default, processing: off };
        let frame = FrameLength::from_millis(10).unwrap();
        let (handset, control) = Handset::open(settings, frame).unwrap();
        Self { handset, control, events: Vec::new(), due: Instant::now(), tone: None }
    }

    /// Says a tone into the loudspeaker from now on.
    pub(crate) fn with_tone(mut self) -> Self {
        self.tone = Some(Sine::new(TONE_HZ));
        self
    }

    /// One frame's time; what the microphone heard.
    pub(crate) fn frame(&mut self) -> [i16; FRAME] {
        let mut pcm = [0; FRAME];
        if let Some(tone) = &mut self.tone {
            tone.fill(&mut pcm);
        }
        self.exchange(&mut pcm);
        pcm
    }

    /// Plays this frame and records the next in its place, then waits for the end of the frame's time.
    pub(crate) fn exchange(&mut self, pcm: &mut [i16; FRAME]) {
        self.handset.play(pcm);
        self.handset.capture(pcm);
        self.due += Duration::from_millis(10);
        std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
        for event in self.control.events() {
            println!("{event:?}");
            self.events.push(event);
        }
    }

    /// So many milliseconds of what the microphone hears.
    pub(crate) fn hear(&mut self, millis: usize) -> Vec<i16> {
        (0..millis / 10).flat_map(|_| self.frame()).collect()
    }

    /// Goes on until something holds; what was heard meanwhile.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Vec<i16> {
        let begin = Instant::now();
        let mut heard = Vec::new();
        while !holds(self) {
            assert!(begin.elapsed() < DEADLINE, "{what} does not come; {:?}", self.events);
            heard.extend(self.frame());
        }
        heard
    }

    /// Goes on until a device of this name is open, and forgets the events up to then.
    pub(crate) fn until_open(&mut self, part: Part, name: &str, instead: bool) {
        self.until_event(name, |event| {
            matches!(event, HandsetEvent::Opened { part: of, name: called, stands_in }
                if *of == part && called == name && *stands_in == instead)
        });
    }

    /// Goes on until a device is lost, and forgets the events up to then.
    pub(crate) fn until_lost(&mut self, part: Part) {
        self.until_event("loss", |event| matches!(event, HandsetEvent::Lost { part: of, .. } if *of == part));
    }

    /// Goes on until this microphone offers itself, and forgets the events up to then; its id, and what was heard.
    pub(crate) fn until_offer(&mut self, name: &str, instead_of: &str) -> (String, Vec<i16>) {
        let wanted = |event: &HandsetEvent| match event {
            HandsetEvent::Offered { part: Part::Microphone, id, name: offered, instead_of: away }
                if offered == name && away == instead_of =>
            {
                Some(id.clone())
            }
            _ => None,
        };
        let heard = self.until("offer", |call| call.events.iter().any(|event| wanted(event).is_some()));
        let place = self.events.iter().position(|event| wanted(event).is_some()).unwrap();
        let id = self.events.drain(..=place).next_back().and_then(|event| wanted(&event)).unwrap();
        (id, heard)
    }

    fn until_event(&mut self, what: &str, wanted: impl Fn(&HandsetEvent) -> bool) {
        self.until(what, |call| call.events.iter().any(&wanted));
        let place = self.events.iter().position(wanted).unwrap();
        self.events.drain(..=place);
    }

    /// Goes on until the tone is heard, which a working loop gives.
    pub(crate) fn until_tone(&mut self) {
        let begin = Instant::now();
        let mut heard = Vec::new();
        loop {
            assert!(begin.elapsed() < DEADLINE, "the tone does not come: {:?}, {}", self.control.flow(), heard.len());
            heard.extend(self.frame());
            let last = &heard[heard.len().saturating_sub(10 * FRAME)..];
            let (peak, clean) = measure(last, pitch(last));
            if last.len() == 10 * FRAME && peak > TONE_PEAK / 2.0 && clean > 30.0 {
                return;
            }
        }
    }
}
