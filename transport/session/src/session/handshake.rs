//! From the first byte to the confirmed key.

use std::collections::VecDeque;
use std::time::Duration;

use subtle::ConstantTimeEq;
use vernam_key::{Confirm, Inbound, Material, Outbound};

use super::established::Established;
use super::{Alignment, Common, Config, Output};
use crate::error::SessionError;
use crate::flow::{KeyBlock, Role};
use crate::hello::{Hello, StockReach, Transcript, agree};
use crate::limits::{
    AEAD_SEED_LEN, CONFIRM_KEY_LEN, HASH_KEY_LEN, MAX_CONTROL_PLAINTEXT, MAX_HELLO, MIN_CONTROL_PAD, TAG_LEN,
};
use crate::record::{RecordOpener, RecordSealer, StreamHeader};
use crate::suite::{Exporter, Suite, confirm_tag};

/// Before the first record, a message is a kind, a length in two bytes, and so many bytes.
const KIND_HELLO: u8 = b'H';
const KIND_CONFIRM: u8 = b'C';

/// Bytes that may wait while the KME is asked for the handshake key: the peer's confirmation and its first records.
const MAX_EARLY: usize = MAX_HELLO + 16 * MAX_CONTROL_PLAINTEXT;

pub(super) struct Handshake {
    role: Role,
    our_name: String,
    peer_name: String,
    suites: Vec<Suite>,
    exporter: Exporter,
    our_reach: [StockReach; 2],
    our_hello: Vec<u8>,
    our_key: Option<Material<Outbound>>,
    received: Vec<u8>,
    agreed: Option<Agreed>,
}

/// What follows from both hellos.
struct Agreed {
    peer: Hello,
    suite: Suite,
    transcript: Transcript,
    keys: Option<(Material<Outbound>, Material<Inbound>)>,
    expected: Option<[u8; TAG_LEN]>,
    confirmed: bool,
}

impl Handshake {
    pub(super) fn start(config: Config, out: &mut VecDeque<Output>) -> Self {
        let hello = Hello {
            nonce: config.nonce,
            suites: config.suites.clone(),
            outbound: config.outbound,
            inbound: config.inbound,
            keys: config.handshake_keys,
        };
        let our_hello = hello.encode();
        let mut first = StreamHeader(Common::control()).to_bytes().to_vec();
        put_message(&mut first, KIND_HELLO, &our_hello);
        out.push_back(Output::Send(first));
        Self {
            role: config.role,
            our_name: config.our_name,
            peer_name: config.peer_name,
            suites: config.suites,
            exporter: config.exporter,
            our_reach: [config.outbound, config.inbound],
            our_hello,
            our_key: Some(config.handshake_material),
            received: Vec::new(),
            agreed: None,
        }
    }

    pub(super) fn handle_bytes(&mut self, bytes: &[u8], out: &mut VecDeque<Output>) -> Result<(), SessionError> {
        if self.received.len() + bytes.len() > MAX_EARLY {
            return Err(SessionError::Protocol { what: "too much was sent before the handshake was over" });
        }
        self.received.extend_from_slice(bytes);
        self.advance(out)
    }

    pub(super) fn handle_key(
        &mut self,
        key: Result<Material<Inbound>, String>,
        out: &mut VecDeque<Output>,
    ) -> Result<(), SessionError> {
        let Some(agreed) = &mut self.agreed else { return Ok(()) };
        let mut theirs = key.map_err(|reason| SessionError::NoHandshakeKey { reason })?;
        let Some(mut ours) = self.our_key.take() else { return Ok(()) };
        let expected_len: usize = agreed.peer.keys.iter().map(|key| key.len as usize).sum();
        let least =
            CONFIRM_KEY_LEN + if agreed.suite == Suite::Otp { HASH_KEY_LEN + MIN_CONTROL_PAD } else { AEAD_SEED_LEN };
        if theirs.len() != expected_len || theirs.len() < least || ours.len() < least {
            return Err(SessionError::NoHandshakeKey {
                reason: format!("it has {} bytes, and at least {least} are needed", theirs.len().min(ours.len())),
            });
        }
        let our_tag =
            confirm_tag::<_, Confirm>(ours.split_to(CONFIRM_KEY_LEN), &agreed.transcript.confirmed_by(self.role))?;
        agreed.expected = Some(confirm_tag::<_, Confirm>(
            theirs.split_to(CONFIRM_KEY_LEN),
            &agreed.transcript.confirmed_by(self.role.other()),
        )?);
        if agreed.suite != Suite::Otp {
            // Only the seed is used; the rest is wiped here.
            ours = ours.split_to(AEAD_SEED_LEN);
            theirs = theirs.split_to(AEAD_SEED_LEN);
        }
        agreed.keys = Some((ours, theirs));
        let mut message = Vec::new();
        put_message(&mut message, KIND_CONFIRM, &our_tag);
        out.push_back(Output::Send(message));
        self.advance(out)
    }

    pub(super) fn is_done(&self) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| agreed.confirmed)
    }

    /// The established session, and bytes that came after the confirmation.
    pub(super) fn finish(
        self,
        now: Duration,
        out: &mut VecDeque<Output>,
    ) -> Result<(Established, Vec<u8>), SessionError> {
        let agreed = self.agreed.ok_or(SessionError::NotConfirmed)?;
        let (ours, theirs) = agreed.keys.ok_or(SessionError::NotConfirmed)?;
        let peer_suites = &agreed.peer.suites;
        let common = Common {
            role: self.role,
            session_id: agreed.transcript.session_id(),
            verification: agreed.transcript.verification(),
            suites: self.suites.iter().copied().filter(|suite| peer_suites.contains(suite)).collect(),
            control_suite: agreed.suite,
            exporter: self.exporter,
        };
        let flow = Common::control();
        let mut sealer = RecordSealer::new(common.ours(flow), &common.exporter);
        let mut opener = RecordOpener::new(common.theirs(flow), &common.exporter);
        let suite = agreed.suite;
        sealer.install(KeyBlock { flow, generation: 0, suite, first_seq: 0, material: ours })?;
        opener.install(KeyBlock { flow, generation: 0, suite, first_seq: 0, material: theirs })?;
        let outbound = Alignment::of_outbound(self.our_reach[0], agreed.peer.inbound);
        let inbound = Alignment::of_inbound(self.our_reach[1], agreed.peer.outbound);
        out.push_back(Output::Align { outbound, inbound });
        out.push_back(Output::Established { suite });
        let established = Established::new(common, sealer, opener, outbound, inbound, now);
        Ok((established, self.received))
    }

    fn advance(&mut self, out: &mut VecDeque<Output>) -> Result<(), SessionError> {
        if self.agreed.is_none() {
            let Some(hello) = take_message(&mut self.received, KIND_HELLO, MAX_HELLO)? else { return Ok(()) };
            let agreed = self.agree(&hello)?;
            out.push_back(Output::FetchHandshakeKeys(agreed.peer.keys.clone()));
            self.agreed = Some(agreed);
        }
        let Some(agreed) = &mut self.agreed else { return Ok(()) };
        let Some(expected) = agreed.expected else { return Ok(()) };
        if agreed.confirmed {
            return Ok(());
        }
        let Some(tag) = take_message(&mut self.received, KIND_CONFIRM, TAG_LEN)? else { return Ok(()) };
        if tag.len() != TAG_LEN || !bool::from(tag.ct_eq(&expected)) {
            return Err(SessionError::NotConfirmed);
        }
        agreed.confirmed = true;
        Ok(())
    }

    fn agree(&self, hello: &[u8]) -> Result<Agreed, SessionError> {
        let peer = Hello::decode(hello)?;
        if hello == self.our_hello {
            return Err(SessionError::Protocol { what: "our own hello came back" });
        }
        let ours = (self.our_name.as_str(), self.our_hello.as_slice(), self.suites.as_slice());
        let theirs = (self.peer_name.as_str(), hello, peer.suites.as_slice());
        let (first, second) = match self.role {
            Role::Initiator => (ours, theirs),
            Role::Responder => (theirs, ours),
        };
        let names = |suites: &[Suite]| suites.iter().map(|suite| suite.name()).collect::<Vec<_>>().join(", ");
        let suite = agree(first.2, second.2)
            .ok_or_else(|| SessionError::NoCommonSuite { ours: names(&self.suites), theirs: names(&peer.suites) })?;
        let transcript = Transcript::new(&self.exporter, [first.0, second.0], [first.1, second.1]);
        Ok(Agreed { peer, suite, transcript, keys: None, expected: None, confirmed: false })
    }
}

fn put_message(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(body);
}

/// The message at the front of `received`, if it is whole.
fn take_message(received: &mut Vec<u8>, kind: u8, limit: usize) -> Result<Option<Vec<u8>>, SessionError> {
    if received.first().is_some_and(|first| *first != kind) {
        return Err(SessionError::NotOurProtocol);
    }
    let [_, high, low, rest @ ..] = received.as_slice() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if len > limit {
        return Err(SessionError::NotOurProtocol);
    }
    if rest.len() < len {
        return Ok(None);
    }
    let body = rest[..len].to_vec();
    received.drain(..3 + len);
    Ok(Some(body))
}
