//! The second connection, for files: taken only when the control stream has named it.
//!
//! A certificate alone makes a connection; only who proved the quantum key can name it on the control stream.

use std::collections::VecDeque;

use tokio::task::JoinHandle;
use vernam_quic::Connection;
use vernam_session::{EXPORTER_LABEL, FILES_LANE_CONTEXT, Message, Role};

use super::{Peer, listen};
use crate::limits::LANE_CANDIDATES;

type LaneId = [u8; 32];

/// The lanes of a conversation.
#[derive(Default)]
pub(super) struct Lanes {
    /// The one in use, and the task that accepts its streams.
    proven: Option<(Connection, JoinHandle<()>)>,
    /// Dialled or accepted, and not yet named or confirmed.
    candidates: VecDeque<(LaneId, Connection)>,
    /// What the initiator named, before we had accepted it.
    named: Option<LaneId>,
}

impl Lanes {
    /// The connection that files go over, if it stands.
    pub(super) fn files(&self) -> Option<Connection> {
        self.proven.as_ref().map(|(lane, _)| lane.clone())
    }

    fn take(&mut self, id: LaneId) -> Option<Connection> {
        let at = self.candidates.iter().position(|(known, _)| *known == id)?;
        self.candidates.remove(at).map(|(_, lane)| lane)
    }

    pub(super) fn close(&mut self) {
        if let Some((lane, listening)) = self.proven.take() {
            listening.abort();
            lane.close(0, "done");
        }
        for (_, lane) in self.candidates.drain(..) {
            lane.close(0, "done");
        }
    }
}

impl Peer {
    /// A connection for files was dialled by us or accepted from somebody with the contact's certificate.
    pub(super) fn add_lane(&mut self, lane: Connection) {
        let Ok(secret) = lane.exporter(EXPORTER_LABEL, FILES_LANE_CONTEXT) else { return };
        let mut id = [0; 32];
        id.copy_from_slice(secret.expose("names the connection to the one who has proved its key"));
        if self.lanes.candidates.len() >= LANE_CANDIDATES
            && let Some((_, oldest)) = self.lanes.candidates.pop_front()
        {
            oldest.close(4, "too many connections for files");
        }
        self.lanes.candidates.push_back((id, lane));
        match self.role {
            Role::Initiator => self.name_lanes(),
            Role::Responder => {
                if self.lanes.named == Some(id) {
                    self.confirm_lane(id);
                }
            }
        }
    }

    /// Names what we dialled, once the peer has proved its key.
    pub(super) fn name_lanes(&mut self) {
        if self.role != Role::Initiator || !self.session.is_established() {
            return;
        }
        let now = self.now();
        if let Some((id, _)) = self.lanes.candidates.back() {
            self.session.send(Message::FilesLane { id: *id }, now);
        }
    }

    /// The initiator named a connection.
    pub(super) fn lane_named(&mut self, id: LaneId) {
        if self.role == Role::Responder {
            self.lanes.named = Some(id);
            self.confirm_lane(id);
        }
    }

    /// The responder has the connection that we named.
    pub(super) fn lane_ready(&mut self, id: LaneId) {
        if self.role == Role::Initiator
            && let Some(lane) = self.lanes.take(id)
        {
            self.use_lane(lane);
        }
    }

    fn confirm_lane(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.take(id) {
            self.lanes.named = None;
            let now = self.now();
            self.session.send(Message::FilesLaneReady { id }, now);
            self.use_lane(lane);
        }
    }

    fn use_lane(&mut self, lane: Connection) {
        let listening = tokio::spawn(listen(lane.clone(), self.inputs.clone()));
        if let Some((old, listening)) = self.lanes.proven.replace((lane, listening)) {
            listening.abort();
            old.close(0, "replaced");
        }
        // What waits for it is offered with the next tick.
    }
}
