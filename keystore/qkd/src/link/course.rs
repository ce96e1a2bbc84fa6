//! Who and what is on a line while time passes, and what that makes of a block on average.

use std::collections::VecDeque;
use std::time::Duration;

use crate::device::{DeviceProfile, Means};
use crate::eve::Eve;
use crate::optics::{Line, Trouble};

/// Trouble that grows counts as it stands in the middle of each of so many parts of a block, or of what is left of the
/// block between two changes.
const PARTS: u32 = 64;

/// A line with what is on it, now and at times that no block has reached yet.
pub(super) struct Course {
    /// Set to what is at hand when it is asked.
    line: Line,
    /// At the start of the block in the making.
    scene: Scene,
    /// What comes after that, and when; times rise.
    changes: VecDeque<(Duration, Scene)>,
}

/// What is on the line at one time.
#[derive(Clone, Copy, Default)]
struct Scene {
    eve: Option<Eve>,
    trouble: Option<Trouble>,
    trouble_since: Duration,
}

/// What was on the line during one block.
#[derive(Default)]
pub(super) struct Stretch {
    /// Averages over its time, of what meets awake detectors.
    pub(super) means: Means,
    /// Whether Eve was there for some of it.
    pub(super) eve: bool,
    /// Whether the detectors were blinded for some of it.
    pub(super) bright_light: bool,
}

impl Course {
    pub(super) fn new(line: Line) -> Self {
        Self { line, scene: Scene::default(), changes: VecDeque::new() }
    }

    /// From `now` on; no earlier than the last change.
    pub(super) fn set_eve(&mut self, now: Duration, eve: Option<Eve>) {
        let scene = self.last();
        self.change(now, Scene { eve, ..scene });
    }

    /// From `now` on; no earlier than the last change. Trouble that grows begins to grow then.
    pub(super) fn set_trouble(&mut self, now: Duration, trouble: Option<Trouble>) {
        let scene = self.last();
        self.change(now, Scene { trouble, trouble_since: now, ..scene });
    }

    /// Who is on the line after the last change.
    pub(super) fn eve(&self) -> Option<Eve> {
        self.last().eve
    }

    /// What trouble there is after the last change.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.last().trouble
    }

    /// What there is between two times, the next block's. Changes before its end are forgotten.
    ///
    /// All counts grow evenly with the pulses, so clicks, errors and what Eve knows are averaged by time, each part with
    /// the dead time that its own clicks cause.
    pub(super) fn over(&mut self, device: &DeviceProfile, start: Duration, end: Duration) -> Stretch {
        let (mut stretch, mut since) = (Stretch::default(), start);
        while let Some((at, next)) = self.changes.pop_front_if(|(at, _)| *at < end) {
            self.add(&mut stretch, device, since, at);
            (since, self.scene) = (at.max(since), next);
        }
        self.add(&mut stretch, device, since, end);
        let whole = end.saturating_sub(start).as_secs_f64();
        let mut means = Means::default();
        means.add(&stretch.means, if whole > 0.0 { 1.0 / whole } else { 0.0 });
        Stretch { means, ..stretch }
    }

    /// Adds the present scene from `since` to `until`, times its seconds.
    fn add(&mut self, stretch: &mut Stretch, device: &DeviceProfile, since: Duration, until: Duration) {
        let lasted = until.saturating_sub(since);
        if lasted.is_zero() {
            return;
        }
        let Scene { eve, trouble, trouble_since } = self.scene;
        self.line.set_eve(eve);
        self.line.set_trouble(trouble);
        stretch.eve |= eve.is_some();
        stretch.bright_light |= self.line.is_bright();
        let parts = if self.line.changes_with_time() { PARTS } else { 1 };
        for part in 0..parts {
            let middle = since + lasted.mul_f64((f64::from(part) + 0.5) / f64::from(parts));
            let means = self.line.means(middle.saturating_sub(trouble_since));
            let awake = device.awake_share_of(&means);
            stretch.means.add(&means, awake * lasted.as_secs_f64() / f64::from(parts));
        }
    }

    fn last(&self) -> Scene {
        self.changes.back().map_or(self.scene, |(_, scene)| *scene)
    }

    fn change(&mut self, now: Duration, scene: Scene) {
        if self.changes.back().is_some_and(|(at, _)| *at == now) {
            self.changes.pop_back();
        }
        self.changes.push_back((now, scene));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn course(device: &DeviceProfile) -> Course {
        Course::new(Line::new(device, 5.0, 0.0))
    }

    #[test]
    fn growing_trouble_is_averaged_over_the_block() {
        let device = DeviceProfile { y0: 0.0, ..DeviceProfile::named("metro-40mhz").unwrap() };
        // 10 dB in a minute; the loss adds up over whole decades, as the mean of a falling exponential.
        let mut rising = course(&device);
        let clean = course(&device).over(&device, secs(0), secs(60)).means;
        rising.set_trouble(secs(0), Some(Trouble::RisingLoss { db_per_minute: 10.0 }));
        let minute = rising.over(&device, secs(0), secs(60)).means.clicks[0] / clean.clicks[0];
        let next = rising.over(&device, secs(60), secs(120)).means.clicks[0] / clean.clicks[0];
        let mean = 0.9 / std::f64::consts::LN_10;
        assert!((minute / mean - 1.0).abs() < 0.01 && (next / mean - 0.1).abs() < 1e-3, "{minute} {next}, not {mean}");
        // The mean of sin² over half a turn is 1/2, so that every second bit is wrong.
        let mut turning = course(&device);
        turning.set_trouble(secs(0), Some(Trouble::PolarisationDrift { degrees_per_minute: 180.0 }));
        assert!((turning.over(&device, secs(0), secs(60)).means.qber(0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn trouble_grows_from_when_it_was_set_whatever_else_changes() {
        let device = DeviceProfile::named("metro-40mhz").unwrap();
        let rise = Some(Trouble::RisingLoss { db_per_minute: 60.0 });
        let clicks = |course: &mut Course, start, end| course.over(&device, secs(start), secs(end)).means.clicks[0];
        let mut alone = course(&device);
        alone.set_trouble(secs(20), rise);
        let expected = [clicks(&mut alone, 0, 20), clicks(&mut alone, 20, 22), clicks(&mut alone, 22, 24)];
        assert!(expected[0] > expected[1] && expected[1] > expected[2]);
        // Whoever only reads along changes no gain.
        let mut tapped = course(&device);
        tapped.set_trouble(secs(20), rise);
        tapped.set_eve(secs(20), Some(Eve::beam_splitting()));
        tapped.set_eve(secs(21), None);
        assert!((clicks(&mut tapped, 0, 20) - expected[0]).abs() < f64::EPSILON);
        assert!((clicks(&mut tapped, 20, 22) / expected[1] - 1.0).abs() < 1e-3);
        assert!((clicks(&mut tapped, 22, 24) / expected[2] - 1.0).abs() < 1e-9);
        assert_eq!((tapped.eve(), tapped.trouble()), (None, rise));
    }

    #[test]
    fn whoever_came_for_no_time_was_not_there() {
        let device = DeviceProfile::named("metro-40mhz").unwrap();
        let mut course = course(&device);
        course.set_eve(secs(3), Some(Eve::blinding()));
        course.set_eve(secs(3), None);
        course.set_eve(secs(10), Some(Eve::blinding()));
        let before = course.over(&device, secs(0), secs(10));
        assert!(!before.eve && !before.bright_light && before.means.known[0] <= 0.0);
        let after = course.over(&device, secs(10), secs(20));
        assert!(after.eve && after.bright_light && after.means.known_share(0) > 0.99);
    }
}
