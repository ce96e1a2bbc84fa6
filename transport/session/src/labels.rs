//! Every domain-separation label, once. They are part of the protocol (`transport/PROTOCOL.md`, section 4).

/// Starts the handshake transcript.
pub(crate) const TRANSCRIPT: &[u8] = b"vernam/1 transcript";
/// Starts the HKDF info of every AEAD key.
pub(crate) const AEAD_KEY: &[u8] = b"vernam/1 aead key";
/// Starts what the verification words are a hash of.
pub(crate) const WORDS: &[u8] = b"vernam/1 words";
/// Context of the TLS exporter that names a connection for files.
pub const FILES_LANE: &[u8] = b"files lane";
/// Label of the TLS exporter (RFC 8446, section 7.5) that both layers meet in.
pub const EXPORTER: &[u8] = b"EXPORTER-vernam/1";
