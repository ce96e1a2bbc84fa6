//! What a key is for, as types: the direction it protects and the flow it belongs to.

mod sealed {
    pub trait Sealed {}
}

/// Which way the protected bytes travel, as this client sees it.
///
/// The sender of a direction is the ETSI master for its keys, so the two directions share no key material.
pub trait Direction: sealed::Sealed + Send + Sync + 'static {
    /// The name for logs and folders.
    const NAME: &'static str;
}

/// From this client to the peer.
pub enum Outbound {}
/// From the peer to this client.
pub enum Inbound {}

impl sealed::Sealed for Outbound {}
impl sealed::Sealed for Inbound {}
impl Direction for Outbound {
    const NAME: &'static str = "outbound";
}
impl Direction for Inbound {
    const NAME: &'static str = "inbound";
}

/// What one piece of key protects. The code stands in every authenticated header (`transport/PROTOCOL.md`).
pub trait Purpose: sealed::Sealed + Send + Sync + 'static {
    /// The byte on the wire.
    const CODE: u8;
    /// The name for ledgers and logs.
    const NAME: &'static str;
}

macro_rules! purposes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {$(
        $(#[$doc])*
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Purpose for $name {
            const CODE: u8 = $code;
            const NAME: &'static str = $text;
        }
    )*};
}

purposes! {
    /// The key confirmation that ends the handshake.
    Confirm = 0, "confirm";
    /// The control stream.
    Control = 1, "control";
    /// Voice datagrams.
    Voice = 2, "voice";
    /// File records.
    File = 3, "file";
    /// Text messages.
    Text = 4, "text";
}
