//! Voices, files and strangers on one bottleneck, in virtual time over the real quinn-proto.
#![expect(clippy::print_stdout, reason = "a test tells what it measured")]

mod figures;
mod giving_way;
mod long_way;
mod strangers;

use std::sync::Arc;
use std::time::Duration;

use vernam_quic::{CallSwitch, Lane};
use vernam_tests::virtual_net::{Delays, FlowId, LinkTerms, Net, Traffic};

/// All chance follows from it.
const SEED: u64 = 20;

/// Bytes of a voice frame with all that is around it below QUIC.
const FRAME: usize = 200;

/// Frames that were sent by the end of a measurement have arrived, or are lost, after this.
const LAST_FRAMES: Duration = Duration::from_secs(2);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A link of this many bits a second, `rtt` there and back, whose queue takes `queue` to be sent.
fn link(rate: u64, rtt: Duration, queue: Duration) -> LinkTerms {
    LinkTerms { rate, way: rtt / 2, queue, loss: 0.0 }
}

/// A voice, a file, and somebody else's download (quinn as it comes, with Cubic) on one link, all in one direction.
struct Scene {
    net: Net,
    call: CallSwitch,
    voice: FlowId,
    file: FlowId,
    stranger: FlowId,
    /// Another file's connection of ours.
    second: FlowId,
}

/// What was seen for a while.
struct Seen {
    delays: Delays,
    /// Mbit/s of the file.
    file: f64,
    /// Mbit/s of the stranger.
    stranger: f64,
}

impl Scene {
    /// On a link with these terms there, and the same without loss back.
    fn new(there: LinkTerms) -> Self {
        println!("seed {SEED}");
        let mut net = Net::new(there, LinkTerms { loss: 0.0, ..there }, SEED);
        let (call, main) = (CallSwitch::new(), Lane::Main);
        let ours = |lane: Lane| lane.transport(&call);
        let voice = net.connect(ours(main), ours(main));
        let file = net.connect(ours(Lane::Files), ours(Lane::Files));
        let mut plain = quinn::TransportConfig::default();
        plain.keep_alive_interval(Some(ms(10_000)));
        let plain = Arc::new(plain);
        let stranger = net.connect(Arc::clone(&plain), plain);
        let second = net.connect(ours(Lane::Files), ours(Lane::Files));
        net.settle();
        for flow in [file, second] {
            net.set_windows(flow, Lane::Files.windows(net.rtt(flow)));
        }
        Self { net, call, voice, file, stranger, second }
    }

    fn talk(mut self) -> Self {
        self.call.set(true);
        self.net.send(self.voice, Some(Traffic::Voice(FRAME)));
        self
    }

    fn with_file(mut self) -> Self {
        self.net.send(self.file, Some(Traffic::Bulk));
        self
    }

    fn with_stranger(mut self) -> Self {
        self.net.send(self.stranger, Some(Traffic::Bulk));
        self
    }

    /// Lets `time` pass, and says what was seen in it. Then the voice, if there is one, pauses for [`LAST_FRAMES`].
    fn watch(&mut self, time: Duration) -> Seen {
        let bytes = |scene: &Self| [scene.file, scene.stranger].map(|flow| scene.net.delivered(flow));
        let before = bytes(self);
        self.net.run(time);
        let after = bytes(self);
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^52")]
        let rate = |at: usize| (after[at] - before[at]) as f64 * 8e-6 / time.as_secs_f64();
        Seen { delays: self.net.delays(self.voice, LAST_FRAMES), file: rate(0), stranger: rate(1) }
    }
}
