//! Filling the outbound stock up to its mark while there is time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use vernam_session::AnnouncedKey;
use vernam_session::limits::MAX_KEY_LEN;
use vernam_store::{MAX_APPEND_BYTES, StockKey};

use super::key::announced;
use super::{Input, Peer};
use crate::event::Event;
use crate::limits::{MIN_STOCK_KEY, SOURCE_PAUSE, SOURCE_POLL};
use crate::source::{Room, SourceError};
use crate::stocks::Unmatched;

/// Looks at the source that are remembered for its rate.
const LEVELS: usize = 60;

/// Where the filling stands.
#[derive(Default)]
pub(super) struct Fill {
    /// The source has been asked and has not answered.
    asking: bool,
    /// The source was asked for keys and has not answered.
    taking: bool,
    /// What an earlier conversation left unmatched, until this one stands.
    pub(super) unmatched: Vec<Unmatched>,
    /// Keys were announced up to this position and the peer has not said that it has them all.
    pub(super) announced_to: Option<u64>,
    /// Announcements of the peer whose keys are still to be collected, in order; the first is being.
    pub(super) collecting: VecDeque<(u64, Vec<AnnouncedKey>)>,
    /// At most so many bytes are asked for at a time, after the source said no to more.
    appetite: Appetite,
    /// Not to be asked again before.
    not_before: Duration,
    /// What the source last said no with.
    refusal: Option<String>,
    /// Whether the quantum link was last said to be in alarm.
    alarm: bool,
    /// What the source had at several times, with what we had taken by then.
    levels: VecDeque<(Duration, u64)>,
    /// What it could give when it last told, bytes.
    available: u64,
    /// The rate that its link says it has, bytes a second.
    link_rate: Option<f64>,
}

/// How much to ask a source for at a time.
///
/// What a KME counts as available may not all be there to take: the newest block of a link can have arrived at one end
/// and not at the other. Whoever asks for everything would be refused again and again. So a no halves what is asked
/// for next, and a yes doubles it.
#[derive(Default)]
struct Appetite {
    /// Bytes of the request that is under way.
    asked: u64,
    /// Bytes, if the source said no of late.
    most: Option<u64>,
}

impl Appetite {
    /// What is asked for of what is wanted, bytes.
    fn of(&self, want: u64) -> u64 {
        self.most.map_or(want, |most| want.min(most))
    }

    fn refused(&mut self) {
        self.most = Some((self.asked / 2).max(1));
    }

    fn given(&mut self) {
        self.most = self.most.map(|most| most.saturating_mul(2));
    }
}

impl Fill {
    /// Whether a source is just giving keys.
    pub(super) fn is_under_way(&self) -> bool {
        self.taking || !self.collecting.is_empty()
    }

    /// How long it takes until so many more bytes can be in stock: what the source has is there at once, the rest comes as
    /// fast as its link makes it, or as it grew of late. `None` if none comes.
    pub(super) fn time_for(&self, bytes: u64) -> Option<Duration> {
        let rest = bytes.saturating_sub(self.available);
        if rest == 0 {
            return Some(Duration::ZERO);
        }
        let seen = self.levels.front().zip(self.levels.back()).and_then(|((began, first), (ended, last))| {
            let seconds = ended.saturating_sub(*began).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
            let rate = last.saturating_sub(*first) as f64 / seconds;
            (seconds >= 1.0).then_some(rate)
        });
        let rate = self.link_rate.or(seen).filter(|rate| *rate > 0.0)?;
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        let seconds = rest as f64 / rate;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// The source told how it stands, after so many bytes were taken from it.
    fn note_room(&mut self, now: Duration, room: &Room, taken: u64) {
        self.available = room.for_stock();
        self.link_rate = room.link.as_ref().filter(|link| link.state != "alarm").map(|link| link.rate_bps / 8.0);
        if self.levels.len() >= LEVELS {
            self.levels.pop_front();
        }
        self.levels.push_back((now, room.available.saturating_add(taken)));
    }

    pub(super) fn pause(&mut self, now: Duration, retry_after: Option<Duration>) {
        self.not_before = now + retry_after.unwrap_or(SOURCE_PAUSE).clamp(SOURCE_PAUSE, SOURCE_PAUSE * 10);
    }
}

impl Peer {
    /// Asks the source how it stands: that tells the gauges, and whether there is something to take.
    pub(super) fn fill_stock(&mut self) {
        let now = self.now();
        if self.fill.asking || self.fill.announced_to.is_some() || now < self.fill.not_before {
            return;
        }
        self.fill.asking = true;
        let (source, contact, inputs) =
            (Arc::clone(&self.shared.source), Arc::clone(&self.contact), self.inputs.clone());
        tokio::spawn(async move {
            let room = source.room(&contact).await;
            let _gone = inputs.send(Input::Room(room)).await;
        });
    }

    pub(super) async fn handle_room(&mut self, room: Result<Room, SourceError>) {
        let now = self.now();
        match room {
            Ok(room) => {
                self.tell_source(self.fill.refusal.clone(), Some(&room)).await;
                self.watch_link(&room).await;
                let have = self.stocks.status().0.available;
                self.fill.note_room(now, &room, self.account.stocked_outbound);
                // What is reserved for files, and what they wait for, comes on top.
                let mark = self.settings.outbound_mark.saturating_add(self.transfers.wanted());
                let want = mark.saturating_sub(have);
                match portion(self.fill.appetite.of(want), &room) {
                    Some((number, len)) => {
                        self.fill.appetite.asked = u64::from(number) * u64::from(len);
                        self.take_from_source(number, len);
                    }
                    None => {
                        self.fill.asking = false;
                        self.fill.not_before = now + SOURCE_POLL;
                    }
                }
            }
            Err(error) => {
                self.fill.asking = false;
                self.fill.pause(now, error.retry_after);
                self.fill.refusal = Some(error.reason);
                self.tell_source(self.fill.refusal.clone(), None).await;
            }
        }
    }

    fn take_from_source(&mut self, number: u32, len: u32) {
        self.fill.taking = true;
        let (source, contact, inputs) =
            (Arc::clone(&self.shared.source), Arc::clone(&self.contact), self.inputs.clone());
        tokio::spawn(async move {
            let keys = source.take(&contact, number, len).await;
            let _gone = inputs.send(Input::Fresh(keys)).await;
        });
    }

    pub(super) async fn handle_fresh(&mut self, keys: Result<Vec<StockKey>, SourceError>) {
        let now = self.now();
        (self.fill.asking, self.fill.taking) = (false, false);
        let keys = match keys {
            Ok(keys) => keys,
            Err(error) => {
                if error.refused {
                    self.fill.appetite.refused();
                }
                self.fill.pause(now, error.retry_after);
                self.fill.refusal = Some(error.reason);
                self.tell_source(self.fill.refusal.clone(), None).await;
                return;
            }
        };
        self.fill.refusal = None;
        self.fill.appetite.given();
        if keys.is_empty() {
            return self.fill.pause(now, None);
        }
        let names = announced(&keys);
        let len: u64 = names.iter().map(|key| u64::from(key.len)).sum();
        match self.stocks.with(move |pair| pair.outbound.append(keys)).await {
            Ok(range) => {
                self.account.stocked_outbound += len;
                self.fill.announced_to = Some(range.end);
                self.session.announce(range.start, &names, now);
            }
            Err(error) => {
                self.account.lost += len;
                self.fill.pause(now, None);
                self.warn(format!("keys could not be put into the store: {error}")).await;
            }
        }
    }

    /// Announces first what the peer never got: it was taken from our KME, and waits for the peer at the other one.
    pub(super) fn announce_again(&mut self) {
        let now = self.now();
        for run in std::mem::take(&mut self.fill.unmatched) {
            self.fill.announced_to = Some(run.end());
            self.session.announce(run.start, &run.keys, now);
        }
    }

    /// Keys came when the conversation was over: the next one announces them.
    pub(super) async fn late_fresh(&mut self, keys: Result<Vec<StockKey>, SourceError>) {
        self.fill.taking = false;
        let Ok(keys) = keys else { return };
        let len: u64 = keys.iter().map(|key| key.bytes.len() as u64).sum();
        match self.stocks.with(move |pair| pair.outbound.append(keys)).await {
            Ok(_) => self.account.stocked_outbound += len,
            Err(error) => {
                self.account.lost += len;
                tracing::info!(contact = %self.contact, %error, "key that came late could not be kept");
            }
        }
    }

    pub(super) async fn stock_ready(&mut self, through: u64) {
        self.usable = self.usable.max(through);
        if let Err(error) = self.stocks.with(move |pair| pair.outbound.note_matched(through)).await {
            self.warn(error.to_string()).await;
        }
        if self.fill.announced_to.is_some_and(|end| through >= end) {
            self.fill.announced_to = None;
        }
        self.voices.stock_came();
        // While there is more to be had, go on at once.
        self.fill_stock();
        self.tell_stock();
    }

    /// Tells the person when the link goes into alarm, and when it is over.
    async fn watch_link(&mut self, room: &Room) {
        let Some(link) = &room.link else { return };
        let alarm = link.state == "alarm";
        if alarm == self.fill.alarm {
            return;
        }
        self.fill.alarm = alarm;
        if alarm {
            let reason = link.reason.as_deref().unwrap_or("too many errors");
            self.warn(format!("no new key comes: {reason}. What is in stock was made before and is safe")).await;
        } else {
            self.warn("the quantum link makes key again").await;
        }
    }

    async fn tell_source(&self, refusal: Option<String>, room: Option<&Room>) {
        let link = room.and_then(|room| room.link.clone());
        self.tell(Event::Source { contact: self.name(), refusal, link }).await;
    }
}

/// How many keys of how many bytes to ask for, so that `want` bytes are covered as far as the source has them, and some are
/// left for handshakes.
fn portion(want: u64, room: &Room) -> Option<(u32, u32)> {
    let available = room.for_stock();
    let (min, max) = (u64::from(room.min_key.max(1)), u64::from(room.max_key).min(MAX_KEY_LEN as u64));
    if want == 0 || max < min || available < min {
        return None;
    }
    let worth = MIN_STOCK_KEY.clamp(min, max.max(min));
    let len = max.min(available).min(want.max(worth)).max(min);
    if len < worth {
        return None;
    }
    let number = (want.div_ceil(len))
        .min(available / len)
        .min(MAX_APPEND_BYTES / len)
        .clamp(1, u64::from(room.max_keys.clamp(1, 128)));
    Some((u32::try_from(number).ok()?, u32::try_from(len).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::KEY_RESERVE;

    /// A source with so much beside what is kept for handshakes.
    fn room(available: u64, min_key: u32, max_key: u32) -> Room {
        Room { available: available + KEY_RESERVE, min_key, max_key, max_keys: 128, link: None }
    }

    #[test]
    fn what_handshakes_need_stays_where_it_is() {
        let room = |available| Room { available, min_key: 1, max_key: 8_192, max_keys: 128, link: None };
        assert_eq!(portion(5_000_000, &room(KEY_RESERVE)), None);
        let (number, len) = portion(5_000_000, &room(KEY_RESERVE + 20_000)).unwrap();
        assert!(u64::from(number) * u64::from(len) <= 20_000);
    }

    #[test]
    fn portions_cover_what_is_wanted_as_far_as_the_source_goes() {
        assert_eq!(portion(5_000_000, &room(50_000_000, 1, 8_192)), Some((128, 8_192)));
        assert_eq!(portion(20_000, &room(50_000_000, 1, 8_192)), Some((3, 8_192)));
        assert_eq!(portion(5_000_000, &room(700, 1, 8_192)), Some((1, 700)));
        assert_eq!(portion(5_000_000, &room(100, 1, 8_192)), None, "too little to be worth its announcement");
        assert_eq!(portion(0, &room(50_000_000, 1, 8_192)), None);
    }

    /// A link's newest block has arrived at our KME and not yet at the other: it counts it, and cannot give it.
    #[test]
    fn who_is_refused_asks_for_less_and_then_for_more_again() {
        let (counted, there, mut appetite) = (94_048, 60_000, Appetite::default());
        let mut refusals = 0;
        loop {
            let (number, len) = portion(appetite.of(4_000_000), &room(counted, 1, 8_192)).unwrap();
            appetite.asked = u64::from(number) * u64::from(len);
            if appetite.asked <= there {
                break;
            }
            appetite.refused();
            refusals += 1;
            assert!(refusals < 3, "asked for {} of {there}", appetite.asked);
        }
        appetite.given();
        assert!(appetite.of(4_000_000) > 60_000 && appetite.of(4_000_000) < counted);
        for _ in 0..100 {
            appetite.refused();
            appetite.asked = appetite.of(4_000_000);
        }
        assert!(portion(appetite.of(4_000_000), &room(counted, 1, 8_192)).is_some(), "it never stops asking");
    }

    #[test]
    fn the_time_for_more_key_follows_from_what_is_there_and_how_fast_it_grows() {
        let mut fill = Fill::default();
        assert_eq!(fill.time_for(0), Some(Duration::ZERO));
        assert_eq!(fill.time_for(1), None, "nothing is known yet");
        // 100 bytes a second, while 1,000 were taken.
        for (second, available, taken) in [(0, 5_000, 0), (5, 5_500, 0), (10, 5_000, 1_000)] {
            fill.note_room(Duration::from_secs(second), &room(available, 1, 8_192), taken);
        }
        assert_eq!(fill.time_for(5_000), Some(Duration::ZERO));
        assert_eq!(fill.time_for(6_000), Some(Duration::from_secs(10)));
        // What the link itself says counts more, but for an alarm.
        let link = |state: &str| {
            let (state, reason) = (state.to_owned(), None);
            Some(crate::LinkHealth { qber: 0.02, threshold: 0.1, rate_bps: 8_000.0, state, reason })
        };
        for (state, seconds) in [("up", 1), ("alarm", 10)] {
            let room = Room { link: link(state), ..room(5_000, 1, 8_192) };
            fill.note_room(Duration::from_secs(10), &room, 1_000);
            assert_eq!(fill.time_for(6_000), Some(Duration::from_secs(seconds)), "{state}");
        }
    }

    #[test]
    fn a_kme_with_one_key_size_is_asked_for_that() {
        assert_eq!(portion(1_000, &room(320, 32, 32)), Some((10, 32)));
        assert_eq!(portion(10_000_000, &room(1_000_000, 32, 32)), Some((128, 32)));
        assert_eq!(portion(10_000_000, &room(16, 32, 32)), None);
    }
}
