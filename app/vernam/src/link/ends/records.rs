//! One end's events as text: lines for people, JSON Lines for machines.
//!
//! JSON Lines: the header `{"schema":"vernam-link-end","version":1}`, then one [`Stamped`] event a line, `"t"` in
//! seconds since the process started. A field may be added under the same version; none changes its meaning.

use super::{
    keys::Fate,
    told::{Ready, Stamped, Told},
};
use crate::link::{
    events::{self, Event},
    records::{plain as lines_of_link, said},
    words::{percent, short},
};

/// The first line of JSON Lines.
pub const JSON_HEADER: &str = r#"{"schema":"vernam-link-end","version":1}"#;

/// One event as a line of JSON, without its end.
pub fn json(stamped: &Stamped) -> serde_json::Result<String> {
    serde_json::to_string(stamped)
}

/// One event as lines for people.
pub fn plain(stamped: &Stamped) -> Vec<String> {
    let text = match &stamped.told {
        Told::EndStarted(ready) => return opening(ready),
        Told::Connected { run, resumed: false, peer } => format!("connected with {peer}: run {run} begins"),
        Told::Connected { run, resumed: true, peer } => format!("connected with {peer}: run {run} goes on"),
        Told::Lost { reason } => format!("connection lost: {reason}"),
        Told::Refused { reason } => format!("no connection: {reason}"),
        Told::Void { block, file } => format!("block {block} void, the far end never got it: {}", fate(*file)),
        Told::Unsettled { block, file } => {
            format!("block {block} unsettled, the far end may not have it: {}; compare before it is used", fate(*file))
        }
        Told::Link(Event::Progress(growing)) => format!(
            "block {} grows: {} sifted; QBER Z {}",
            growing.block,
            short(growing.sifted_x),
            percent(growing.qber_z)
        ),
        Told::Link(event) => return lines_of_link(&events::Stamped { t: stamped.t, event: event.clone() }),
    };
    vec![said(stamped.t, &text)]
}

fn opening(ready: &Ready) -> Vec<String> {
    let Ready { role, peer_name, listen, dial, secret_id, starts_left, keys } = ready;
    let place = match (listen, dial) {
        (Some(address), _) => format!("waits for {peer_name} at {address}"),
        (None, Some(place)) => format!("calls {peer_name} at {place}"),
        (None, None) => format!("meets {peer_name}"),
    };
    let secret: String = secret_id.chars().take(8).collect();
    let key = keys.as_ref().map_or_else(
        || "the key is wiped at once: --keys keeps it".to_owned(),
        |folder| format!("the key goes to {}", folder.join("block-NUMBER.key").display()),
    );
    vec![format!("this is {role}, which {place}; start-up secret {secret}, good for {starts_left} more runs"), key]
}

fn fate(file: Fate) -> &'static str {
    match file {
        Fate::Erased => "its file is erased",
        Fate::SetAside => "its file is set aside, as *.key.unsettled",
        Fate::Taken => "somebody has taken its file already, and must not use it",
        Fate::NotKept => "its key is wiped",
    }
}
