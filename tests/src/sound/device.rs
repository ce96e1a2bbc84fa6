//! What can be plugged in.

/// A loudspeaker or a microphone in software.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    name: String,
    is_speaker: bool,
    rate: u32,
    channels: u16,
}

impl Device {
    /// A loudspeaker, 48 kHz, mono. What it plays can be heard with [`super::Sound::listen`].
    pub fn speaker(name: &str) -> Self {
        Self { name: name.to_owned(), is_speaker: true, rate: super::RATE, channels: 1 }
    }

    /// A microphone, 48 kHz, mono: a source of its own, and no loudspeaker's monitor. [`super::Sound::say`] speaks into it.
    pub fn microphone(name: &str) -> Self {
        Self { name: name.to_owned(), is_speaker: false, rate: super::RATE, channels: 1 }
    }

    /// The same at another rate, samples a second.
    #[must_use]
    pub fn at(self, rate: u32) -> Self {
        Self { rate, ..self }
    }

    /// The same with so many channels.
    #[must_use]
    pub fn of_channels(self, channels: u16) -> Self {
        Self { channels, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that `vernam` knows it by.
    pub fn id(&self) -> String {
        format!("pulseaudio:{}", self.name)
    }

    /// The id of what stands behind a microphone: the same sound, one module of the server earlier. For measuring delay.
    pub fn id_behind(microphone: &str) -> String {
        format!("pulseaudio:{}.monitor", Self::sink_behind(microphone))
    }

    pub(super) fn is_speaker(&self) -> bool {
        self.is_speaker
    }

    /// The sink whose sound a microphone gives.
    pub(super) fn sink_behind(microphone: &str) -> String {
        format!("{microphone}.in")
    }

    /// The modules that it is made of, in order, as `pactl load-module` takes them.
    pub(super) fn modules(&self) -> Vec<Vec<String>> {
        let Self { name, rate, channels, .. } = self;
        // Without `norewinds` the first sound through an idle null sink is up to 2 s late.
        let sink = |sink: &str| {
            vec![
                "module-null-sink".to_owned(),
                format!("sink_name={sink}"),
                format!("rate={rate}"),
                format!("channels={channels}"),
                "format=s16le".to_owned(),
                "norewinds=1".to_owned(),
                format!("sink_properties=device.description={sink}"),
            ]
        };
        if self.is_speaker {
            return vec![sink(name)];
        }
        let behind = Self::sink_behind(name);
        let source = vec![
            "module-remap-source".to_owned(),
            format!("source_name={name}"),
            format!("master={behind}.monitor"),
            format!("rate={rate}"),
            format!("channels={channels}"),
            "format=s16le".to_owned(),
            format!("source_properties=device.description={name}"),
        ];
        vec![sink(&behind), source]
    }
}
