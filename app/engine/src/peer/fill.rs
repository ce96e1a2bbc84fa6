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

/// Where the filling stands.
#[derive(Default)]
pub(super) struct Fill {
    /// The source has been asked and has not answered.
    asking: bool,
    /// Keys were announced up to this position and the peer has not said that it has them all.
    pub(super) announced_to: Option<u64>,
    /// Announcements of the peer whose keys are still to be collected, in order; the first is being.
    pub(super) collecting: VecDeque<(u64, Vec<AnnouncedKey>)>,
    /// Not to be asked again before.
    not_before: Duration,
    /// What the source last said no with.
    refusal: Option<String>,
    /// Whether the quantum link was last said to be in alarm.
    alarm: bool,
}

impl Fill {
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
                let want = self.settings.outbound_mark.saturating_sub(have);
                match portion(want, &room) {
                    Some((number, len)) => self.take_from_source(number, len),
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

    fn take_from_source(&self, number: u32, len: u32) {
        let (source, contact, inputs) =
            (Arc::clone(&self.shared.source), Arc::clone(&self.contact), self.inputs.clone());
        tokio::spawn(async move {
            let keys = source.take(&contact, number, len).await;
            let _gone = inputs.send(Input::Fresh(keys)).await;
        });
    }

    pub(super) async fn handle_fresh(&mut self, keys: Result<Vec<StockKey>, SourceError>) {
        let now = self.now();
        self.fill.asking = false;
        let keys = match keys {
            Ok(keys) => keys,
            Err(error) => {
                self.fill.pause(now, error.retry_after);
                self.fill.refusal = Some(error.reason);
                self.tell_source(self.fill.refusal.clone(), None).await;
                return;
            }
        };
        self.fill.refusal = None;
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

/// How many keys of how many bytes to ask for, so that `want` bytes are covered as far as the source has them.
fn portion(want: u64, room: &Room) -> Option<(u32, u32)> {
    let (min, max) = (u64::from(room.min_key.max(1)), u64::from(room.max_key).min(MAX_KEY_LEN as u64));
    if want == 0 || max < min || room.available < min {
        return None;
    }
    let worth = MIN_STOCK_KEY.clamp(min, max.max(min));
    let len = max.min(room.available).min(want.max(worth)).max(min);
    if len < worth {
        return None;
    }
    let number = (want.div_ceil(len))
        .min(room.available / len)
        .min(MAX_APPEND_BYTES / len)
        .clamp(1, u64::from(room.max_keys.clamp(1, 128)));
    Some((u32::try_from(number).ok()?, u32::try_from(len).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(available: u64, min_key: u32, max_key: u32) -> Room {
        Room { available, min_key, max_key, max_keys: 128, link: None }
    }

    #[test]
    fn portions_cover_what_is_wanted_as_far_as_the_source_goes() {
        assert_eq!(portion(5_000_000, &room(50_000_000, 1, 8_192)), Some((128, 8_192)));
        assert_eq!(portion(20_000, &room(50_000_000, 1, 8_192)), Some((3, 8_192)));
        assert_eq!(portion(5_000_000, &room(700, 1, 8_192)), Some((1, 700)));
        assert_eq!(portion(5_000_000, &room(100, 1, 8_192)), None, "too little to be worth its announcement");
        assert_eq!(portion(0, &room(50_000_000, 1, 8_192)), None);
    }

    #[test]
    fn a_kme_with_one_key_size_is_asked_for_that() {
        assert_eq!(portion(1_000, &room(320, 32, 32)), Some((10, 32)));
        assert_eq!(portion(10_000_000, &room(1_000_000, 32, 32)), Some((128, 32)));
        assert_eq!(portion(10_000_000, &room(16, 32, 32)), None);
    }
}
