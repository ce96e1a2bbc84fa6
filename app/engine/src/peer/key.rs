//! Carrying out what the session asks of the stocks and of the key source.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep;
use vernam_key::{Inbound, Material, Outbound, Purpose, SecretBytes, Voice};
use vernam_session::limits::{HASH_KEY_LEN, MAX_ANNOUNCED_KEYS, VOICE_OTP_TAG_LEN};
use vernam_session::{AnnouncedKey, FlowId, KeyOffer, NoKey, Suite};
use vernam_store::{SpentOn, StockKey};

use super::{Input, Peer};
use crate::event::Event;
use crate::limits::{HANDSHAKE_KEY, HANDSHAKE_KEY_PATIENCE, HANDSHAKE_KEY_PAUSE, MIN_HANDSHAKE_KEY, SOURCE_PAUSE};
use crate::source::{KeySource, Room, SourceError};
use crate::stocks::usable_run;

/// How long a source that has too little is asked again, and how often.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    at_most: Duration,
    pause: Duration,
}

impl Patience {
    /// With which a handshake's key is waited for.
    pub(super) const OF_HANDSHAKE: Self = Self { at_most: HANDSHAKE_KEY_PATIENCE, pause: HANDSHAKE_KEY_PAUSE };
}

/// Keys for the handshake, and their bytes one after the other.
///
/// A source that has too little is asked again, with `patience`, and for less: another conversation with the contact, or
/// the contact's own, may just have taken what there was. The person is told that it is waited.
pub(super) async fn for_handshake(
    source: &dyn KeySource,
    contact: &str,
    events: &mpsc::Sender<Event>,
    patience: Patience,
) -> Result<(Vec<AnnouncedKey>, Material<Outbound>), SourceError> {
    let until = Instant::now() + patience.at_most;
    let mut waits = false;
    let mut room = source.room(contact).await?;
    let (mut number, mut len) = handshake_keys(&room, false);
    let mut keys: Vec<StockKey> = Vec::new();
    // A KME may give fewer keys a request than are needed.
    while keys.len() < number {
        let more = (number - keys.len()).min(room.max_keys.max(1) as usize);
        let error = match source.take(contact, u32::try_from(more).unwrap_or(1), len).await {
            Ok(more) if !more.is_empty() => {
                keys.extend(more);
                continue;
            }
            Ok(_none) => {
                SourceError { reason: "the source of keys gave none".to_owned(), retry_after: None, refused: true }
            }
            Err(error) => error,
        };
        let left = until.saturating_duration_since(Instant::now());
        if !error.refused || left.is_zero() {
            return Err(error);
        }
        if !std::mem::replace(&mut waits, true) {
            let event = Event::WaitingForKey { contact: contact.to_owned(), why: error.reason.clone(), at_most: left };
            let _gone = events.send(event).await;
        }
        let pause = error.retry_after.unwrap_or(patience.pause).clamp(patience.pause, SOURCE_PAUSE);
        sleep(pause.min(left)).await;
        if keys.is_empty() {
            room = source.room(contact).await?;
            (number, len) = handshake_keys(&room, true);
        }
    }
    Ok((announced(&keys), Material::from_source(joined(&keys))))
}

/// How many keys of how many bytes a handshake takes: few bytes where there is little, or where the source is said to be
/// `short`.
fn handshake_keys(room: &Room, short: bool) -> (usize, u32) {
    let len = room.max_key.min(HANDSHAKE_KEY).max(room.min_key).max(1);
    let is_short = short || room.for_stock() < u64::from(HANDSHAKE_KEY);
    let wanted = if len >= HANDSHAKE_KEY && !is_short { HANDSHAKE_KEY } else { MIN_HANDSHAKE_KEY };
    let len = len.min(wanted.max(room.min_key));
    ((wanted.div_ceil(len) as usize).min(MAX_ANNOUNCED_KEYS), len)
}

/// Names and lengths of `keys`.
pub(super) fn announced(keys: &[StockKey]) -> Vec<AnnouncedKey> {
    let len = |key: &StockKey| u32::try_from(key.bytes.len()).unwrap_or(u32::MAX);
    keys.iter().map(|key| AnnouncedKey { id: key.id, len: len(key) }).collect()
}

fn joined(keys: &[StockKey]) -> SecretBytes {
    let len = keys.iter().map(|key| key.bytes.len()).sum();
    let mut all = SecretBytes::from_vec(vec![0; len]);
    let mut rest = all.expose_mut("several short keys become one block");
    for key in keys {
        let (head, tail) = rest.split_at_mut(key.bytes.len());
        head.copy_from_slice(key.bytes.expose("several short keys become one block"));
        rest = tail;
    }
    all
}

/// Whether `keys` are the announced ones, by name and length and in order.
fn are_announced(keys: &[StockKey], announced: &[AnnouncedKey]) -> bool {
    keys.len() == announced.len()
        && keys.iter().zip(announced).all(|(key, said)| key.id == said.id && key.bytes.len() == said.len as usize)
}

impl Peer {
    pub(super) fn fetch_handshake_keys(&self, keys: Vec<AnnouncedKey>) {
        let (source, contact, inputs) =
            (Arc::clone(&self.shared.source), Arc::clone(&self.contact), self.inputs.clone());
        tokio::spawn(async move {
            let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
            let key = match source.collect(&contact, &ids).await {
                Ok(got) if are_announced(&got, &keys) => Ok(Material::<Inbound>::from_source(joined(&got))),
                Ok(_) => Err("the KME gave other keys than the other side named".to_owned()),
                Err(error) => Err(error.reason),
            };
            let _gone = inputs.send(Input::HandshakeKey(key)).await;
        });
    }

    /// Announced keys are collected one announcement after the other: they are appended in the order of their positions.
    pub(super) fn fetch_stock(&mut self, start: u64, keys: Vec<AnnouncedKey>) {
        self.fill.collecting.push_back((start, keys));
        if self.fill.collecting.len() == 1 {
            self.collect_next();
        }
    }

    fn collect_next(&self) {
        let Some((start, keys)) = self.fill.collecting.front().cloned() else { return };
        let (source, contact, inputs) =
            (Arc::clone(&self.shared.source), Arc::clone(&self.contact), self.inputs.clone());
        tokio::spawn(async move {
            let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
            let got = source.collect(&contact, &ids).await.and_then(|got| {
                let reason = "the KME gave other keys than the other side named".to_owned();
                let error = SourceError { reason, retry_after: None, refused: false };
                if are_announced(&got, &keys) { Ok(got) } else { Err(error) }
            });
            let _gone = inputs.send(Input::Announced { start, keys: got }).await;
        });
    }

    pub(super) async fn handle_announced(&mut self, start: u64, keys: Result<Vec<StockKey>, SourceError>) {
        let stored = self.store_announced(start, keys).await;
        if let Err(why) = &stored {
            self.warn(format!("key from {} could not be collected: {why}", self.contact)).await;
        }
        let now = self.now();
        self.session.handle_stock_fetched(start, stored.is_ok(), now);
        self.fill.collecting.pop_front();
        self.collect_next();
    }

    async fn store_announced(&mut self, start: u64, keys: Result<Vec<StockKey>, SourceError>) -> Result<(), String> {
        let keys = keys.map_err(|error| error.reason)?;
        let len: u64 = keys.iter().map(|key| key.bytes.len() as u64).sum();
        let appended = self.stocks.with(move |pair| {
            pair.inbound.advance_end_to(start)?;
            pair.inbound.append(keys)
        });
        match appended.await {
            Ok(range) if range.start == start => {
                self.account.stocked_inbound += len;
                Ok(())
            }
            Ok(_) => Err("the two stocks have come apart".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Announced keys came when the conversation was over. The peer learns of them in the next one; what it announced
    /// besides is still at the KME.
    pub(super) async fn late_announced(&mut self, start: u64, keys: Result<Vec<StockKey>, SourceError>) {
        self.fill.collecting.clear();
        if let Err(why) = self.store_announced(start, keys).await {
            tracing::info!(contact = %self.contact, why, "key that came late could not be kept");
        }
    }

    pub(super) async fn drop_outbound(&mut self, start: u64) {
        let dropped = self.stocks.with(move |pair| pair.outbound.discard_from(start)).await;
        if let Err(error) = dropped {
            self.warn(error.to_string()).await;
        }
        self.fill.announced_to = None;
        self.fill.pause(self.now(), None);
        self.warn(format!("{}'s KME does not have the key that ours gave; it was dropped", self.contact)).await;
    }

    pub(super) async fn take_outbound(&mut self, flow: FlowId, suite: Suite, len: u32, through: u64) {
        // A file takes what there is, byte by byte.
        let slot = if flow.purpose == vernam_key::File::CODE { Some(1) } else { self.voices.slot_of(flow) };
        let taken = self.stocks.with(move |pair| {
            let status = pair.outbound.status();
            let (len, usable) = (u64::from(len), usable_run(pair.outbound.as_ref(), through));
            let len = match shorten(len, usable, slot) {
                Some(len) => len,
                // A gap ends the run at hand. What is left before it is given up for the key behind it, which the peer has.
                None if through >= status.end && status.available >= len => len,
                None => return Err(NoKey::StockUsedUp),
            };
            let taken =
                pair.outbound.take(len, SpentOn::of_code(flow.purpose)).map(|taken| (taken.start, taken.material));
            taken.map_err(|error| match error {
                vernam_store::Error::NotEnough { .. } => NoKey::StockUsedUp,
                error => {
                    tracing::error!(%error, "the outbound stock failed");
                    NoKey::Store
                }
            })
        });
        let taken = taken.await;
        if let Ok((start, material)) = &taken {
            let len = material.len() as u64;
            // Where it was in the stock is no secret, and shows afterwards that nothing was taken twice.
            let (contact, purpose) = (&self.contact, purpose_name(flow));
            tracing::info!(target: "vernam_engine::key", %contact, way = "out", start, len, purpose, "key was taken");
            *self.account.outbound.entry((purpose_name(flow), suite)).or_default() += len;
            if flow.purpose == vernam_key::File::CODE {
                self.transfers.charge(flow.number, len);
            }
        }
        let now = self.now();
        self.session.handle_outbound(flow, taken, now);
    }

    pub(super) async fn take_inbound(&mut self, offer: KeyOffer) {
        let (start, len) = (offer.start, u64::from(offer.len));
        let on = SpentOn::of_code(offer.flow.purpose);
        let taken = self.stocks.with(move |pair| pair.inbound.take_at(start, len, on)).await;
        match &taken {
            Ok(material) => {
                let (contact, purpose) = (&self.contact, purpose_name(offer.flow));
                tracing::info!(target: "vernam_engine::key", %contact, way = "in", start, len, purpose, "key was taken");
                *self.account.inbound.entry((purpose_name(offer.flow), offer.suite)).or_default() +=
                    material.len() as u64;
            }
            Err(error) => self.warn(format!("key that {} named is not in our stock: {error}", self.contact)).await,
        }
        let now = self.now();
        self.session.handle_inbound(offer, taken.ok(), now);
    }
}

/// How much to take: all that is wanted, or, for voice, as many whole packets as there are.
fn shorten(wanted: u64, usable: u64, slot: Option<u64>) -> Option<u64> {
    if usable >= wanted {
        return Some(wanted);
    }
    let hash_key = HASH_KEY_LEN as u64;
    let slots = usable.checked_sub(hash_key)? / slot?;
    (slots > 0).then(|| hash_key + slots * slot.unwrap_or(0))
}

/// The ledger's name of a flow's purpose.
fn purpose_name(flow: FlowId) -> &'static str {
    use vernam_key::{Control, File, Text};
    match flow.purpose {
        Control::CODE => Control::NAME,
        Voice::CODE => Voice::NAME,
        File::CODE => File::NAME,
        Text::CODE => Text::NAME,
        _ => "other",
    }
}

/// Bytes of pad that one voice packet needs, where that is what is taken.
pub(super) fn voice_slot(suite: Suite, packet_len: u16) -> Option<u64> {
    (suite == Suite::Otp).then(|| u64::from(packet_len) + VOICE_OTP_TAG_LEN as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use vernam_key::KeyId;

    use super::*;
    use crate::source::Reply;

    /// A source that counts so many bytes, in keys of at most so many, and says no so many times first.
    struct Source {
        available: u64,
        max_key: u32,
        max_keys: u32,
        refusals: Mutex<u32>,
    }

    impl KeySource for Source {
        fn room<'a>(&'a self, _contact: &'a str) -> Reply<'a, Room> {
            let Self { available, max_key, max_keys, .. } = *self;
            Box::pin(async move { Ok(Room { available, max_key, min_key: 1, max_keys, link: None }) })
        }

        fn take<'a>(&'a self, _contact: &'a str, number: u32, bytes: u32) -> Reply<'a, Vec<StockKey>> {
            assert!(number <= self.max_keys && bytes <= self.max_key, "{number} keys of {bytes} bytes");
            let mut refusals = self.refusals.lock().unwrap();
            if let Some(left) = refusals.checked_sub(1) {
                *refusals = left;
                let reason = format!("not enough key: {bytes} bytes asked");
                return Box::pin(async move { Err(SourceError { reason, retry_after: None, refused: true }) });
            }
            let key = move |at: u32| {
                let id = KeyId::from_bytes(u128::from(at).to_be_bytes());
                StockKey { id, bytes: SecretBytes::from_vec(vec![1; bytes as usize]) }
            };
            Box::pin(async move { Ok((0..number).map(key).collect()) })
        }

        fn collect<'a>(&'a self, _contact: &'a str, _ids: &'a [KeyId]) -> Reply<'a, Vec<StockKey>> {
            Box::pin(async move { Ok(Vec::new()) })
        }
    }

    /// How many keys, and how many bytes together.
    async fn handshake(available: u64, max_key: u32, max_keys: u32) -> (usize, usize) {
        let (events, mut told) = mpsc::channel(1);
        let source = Source { available, max_key, max_keys, refusals: Mutex::default() };
        let (names, material) = for_handshake(&source, "bob", &events, Patience::OF_HANDSHAKE).await.unwrap();
        assert_eq!(names.iter().map(|key| key.len as usize).sum::<usize>(), material.len());
        assert!(told.try_recv().is_err(), "nothing was waited for");
        (names.len(), material.len())
    }

    #[tokio::test]
    async fn a_source_that_is_short_gives_a_smaller_handshake_key() {
        let reserve = crate::limits::KEY_RESERVE;
        assert_eq!(handshake(1 << 20, 8_192, 128).await, (1, 8_192));
        assert_eq!(handshake(reserve + 8_192, 8_192, 128).await, (1, 8_192));
        assert_eq!(handshake(reserve + 8_191, 8_192, 128).await, (1, 4_096), "the reserve lasts for longer");
        assert_eq!(handshake(4_096, 8_192, 128).await, (1, 4_096));
    }

    /// What it told, and what came of it, with so many milliseconds of patience.
    async fn refused(times: u32, patience: u64) -> (Vec<Event>, Result<usize, String>) {
        let (events, mut told) = mpsc::channel(8);
        let source = Source { available: 1 << 20, max_key: 8_192, max_keys: 1, refusals: Mutex::new(times) };
        let patience = Patience { at_most: Duration::from_millis(patience), pause: Duration::from_millis(1) };
        let keys = for_handshake(&source, "bob", &events, patience).await;
        drop(events);
        let mut all = Vec::new();
        while let Some(event) = told.recv().await {
            all.push(event);
        }
        (all, keys.map(|(_, material)| material.len()).map_err(|error| error.reason))
    }

    #[tokio::test]
    async fn a_source_without_key_is_asked_again_for_less_and_that_is_told_once() {
        let (told, keys) = refused(7, 60_000).await;
        assert_eq!(keys, Ok(4_096));
        let [Event::WaitingForKey { contact, why, .. }] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((contact.as_str(), why.as_str()), ("bob", "not enough key: 8192 bytes asked"));
    }

    #[tokio::test]
    async fn a_source_that_gets_no_key_is_given_up() {
        let (told, keys) = refused(u32::MAX, 50).await;
        assert_eq!((told.len(), keys), (1, Err("not enough key: 4096 bytes asked".to_owned())));
        assert!(HANDSHAKE_KEY_PATIENCE < crate::limits::HANDSHAKE_TIMEOUT, "the other side waits for so long");
    }

    #[tokio::test]
    async fn short_keys_become_a_smaller_handshake_key_of_many() {
        assert_eq!(handshake(1 << 20, 1_024, 128).await, (4, 4_096));
        assert_eq!(handshake(1 << 20, 32, 128).await, (128, 4_096));
        assert_eq!(handshake(1 << 20, 32, 50).await, (128, 4_096), "in several requests");
        assert_eq!(handshake(1 << 20, 16, 128).await, (128, 2_048), "as many as may be named");
    }
}
