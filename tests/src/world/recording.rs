//! What went over the wire, and the secrets that open it: for another implementation to read.

use std::collections::BTreeMap;

use vernam_session::FlowId;

use super::{CONTROL, Path, Side, World};

/// Units on the control stream before its first record: the hello, with the stream's header, and the confirmation.
const HANDSHAKE_MESSAGES: usize = 2;

/// One session as a stranger with all the keys sees it.
pub struct Recording {
    /// The TLS exporter.
    pub exporter: [u8; 32],
    /// Alice's half, then Bob's.
    pub parties: [Recorded; 2],
}

/// What one side sent, and the key it sent it under.
pub struct Recorded {
    /// Its handshake keys, one after the other.
    pub handshake_key: Vec<u8>,
    /// Its outbound stock: positions and bytes, whether they were used or not.
    pub stock: Vec<(u64, Vec<u8>)>,
    /// The bytes of its streams, in the order in which they were opened.
    pub streams: Vec<Vec<u8>>,
    /// Its datagrams, in order.
    pub datagrams: Vec<Vec<u8>>,
}

impl World {
    /// The session so far.
    pub fn recording(&self) -> Recording {
        Recording { exporter: self.started.exporters[0], parties: Side::BOTH.map(|side| self.recorded(side)) }
    }

    /// How many records `side` has sent on its control stream.
    pub fn control_records(&self, side: Side) -> usize {
        let sent = self.around.wire.sent().iter();
        let control = sent.filter(|unit| unit.from == side && unit.path == Path::Stream(CONTROL));
        control.count() - HANDSHAKE_MESSAGES
    }

    fn recorded(&self, side: Side) -> Recorded {
        let mut order: BTreeMap<FlowId, usize> = BTreeMap::new();
        let (mut streams, mut datagrams) = (Vec::<Vec<u8>>::new(), Vec::new());
        for unit in self.around.wire.sent().iter().filter(|unit| unit.from == side) {
            match unit.path {
                Path::Datagram => datagrams.push(unit.bytes.clone()),
                Path::Stream(flow) => {
                    let at = *order.entry(flow).or_insert_with(|| {
                        streams.push(Vec::new());
                        streams.len() - 1
                    });
                    streams[at].extend_from_slice(&unit.bytes);
                }
            }
        }
        let bytes_of = |id| self.around.source.bytes_of(id).expect("the source gave it").to_vec();
        Recorded {
            handshake_key: self.started.handshake_keys[side.index()].clone(),
            stock: self.stocked[side.index()].iter().map(|(start, id)| (*start, bytes_of(*id))).collect(),
            streams,
            datagrams,
        }
    }
}
