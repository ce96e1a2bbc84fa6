//! The proof, right after the TLS handshake, that the far end holds the same start-up secret.
//!
//! A certificate alone lets nobody near a run: what one end tells the other in its greeting strikes out pieces of the
//! start-up secret, and goes on with runs. So each end first sends a MAC under the secret's greeting key over the TLS
//! session's own exported key (RFC 8446, section 7.5), to which both ends gave fresh randomness. It belongs to this
//! session and this direction; who relays it into another session, or sends it back, proves nothing. All that follows
//! is protected by the session, and so is the far end's.
//!
//! It keeps strangers with a certificate from doing harm, as well as keyed BLAKE3 and TLS can. Key does not rest on it:
//! the messages that make key have their Wegman-Carter tags.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use vernam_key::SecretBytes;

use crate::greet::{exchange, goodbye};
use crate::hello::Control;
use crate::secret::{SecretId, in_hex};
use crate::tls::Tls;
use crate::{Refusal, StartupSecret};

/// The length of a proof, bytes.
pub(crate) const MAC_BYTES: usize = 32;

/// What the session's exported key is for.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-vernam-link-greeting";

/// Opens connections, and lets only the holder of the same start-up secret through.
#[derive(Clone)]
pub(crate) struct Gate {
    tls: Tls,
    secret: SecretId,
    key: Arc<SecretBytes>,
}

/// Who of the two called: the proofs of the two directions differ.
#[derive(Clone, Copy)]
enum Side {
    Caller,
    Called,
}

impl Gate {
    pub(crate) fn new(tls: Tls, secret: &StartupSecret) -> Self {
        Self { tls, secret: secret.raw_id(), key: Arc::new(secret.greeting_key()) }
    }

    /// The handshake with somebody who called us, and both proofs.
    pub(crate) async fn accept(&self, tcp: TcpStream, peer: &str) -> Result<Box<TlsStream<TcpStream>>, Refusal> {
        let stream = self.tls.accept(tcp, peer).await?;
        self.prove(Box::new(stream), peer, Side::Called).await
    }

    /// Calls `address`; then as [`Self::accept`].
    pub(crate) async fn dial(&self, address: &str) -> Result<Box<TlsStream<TcpStream>>, Refusal> {
        let stream = self.tls.dial(address).await?;
        self.prove(Box::new(stream), address, Side::Caller).await
    }

    async fn prove(
        &self,
        stream: Box<TlsStream<TcpStream>>,
        peer: &str,
        side: Side,
    ) -> Result<Box<TlsStream<TcpStream>>, Refusal> {
        let session = exported(&stream).map_err(|error| Refusal::Broken {
            peer: peer.to_owned(),
            reason: format!("TLS gives no key to prove anything with: {error}"),
        })?;
        let (ours, expected) = match side {
            Side::Caller => (self.mac(Side::Caller, &session)?, self.mac(Side::Called, &session)?),
            Side::Called => (self.mac(Side::Called, &session)?, self.mac(Side::Caller, &session)?),
        };
        let word = Control::Proof { secret: self.secret, mac: *ours.as_bytes() }.frame();
        let (mut reading, mut writing) = tokio::io::split(stream);
        let heard = exchange(&self.tls, peer, &mut reading, &mut writing, word).await?;
        let objection = match heard {
            // `blake3::Hash` is compared in constant time.
            Control::Proof { secret, mac } if secret == self.secret && expected == mac => {
                return Ok(reading.unsplit(writing));
            }
            Control::Proof { secret, .. } if secret != self.secret => format!(
                "the two ends hold different start-up secrets ({} here, {} there): copy the file of one end to the \
                 other before either is used",
                in_hex(&self.secret[..4]),
                in_hex(&secret[..4])
            ),
            Control::Proof { .. } => format!(
                "{peer} has the right certificate and names our start-up secret, but does not hold it: its file is \
                 damaged, or somebody else uses its certificate; if so, set both ends up anew"
            ),
            Control::Goodbye(why) => return Err(Refusal::ByPeer(why)),
            _ => "the far end does not prove who it is: is it of another version?".to_owned(),
        };
        goodbye(&mut reading, &mut writing, "it holds another start-up secret, or does not prove that it holds ours")
            .await;
        Err(Refusal::Unlike(objection))
    }

    fn mac(&self, side: Side, session: &[u8; MAC_BYTES]) -> Result<blake3::Hash, Refusal> {
        let key = self.key.expose("to prove that this end holds the start-up secret");
        let key: &[u8; 32] = key.try_into().map_err(|_other_length| {
            Refusal::Unlike("the greeting key of the start-up secret has another length than 32 bytes".to_owned())
        })?;
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(match side {
            Side::Caller => b"vernam link proof, from who called",
            Side::Called => b"vernam link proof, from the called",
        });
        hasher.update(&self.secret).update(session);
        Ok(hasher.finalize())
    }
}

fn exported(stream: &TlsStream<TcpStream>) -> Result<[u8; MAC_BYTES], rustls::Error> {
    let out = [0; MAC_BYTES];
    match stream {
        TlsStream::Client(stream) => stream.get_ref().1.export_keying_material(out, EXPORTER_LABEL, None),
        TlsStream::Server(stream) => stream.get_ref().1.export_keying_material(out, EXPORTER_LABEL, None),
    }
}
