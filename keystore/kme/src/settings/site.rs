//! Who is who: this KME, its SAEs, how certificates name them, its peers and their sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml_span::Span;
use vernam_etsi014::{KmeId, SaeId};

use super::report::Sink;
use super::section::{At, Section, as_text};
use super::sources::{self, SourceSettings};
use super::values;
use crate::PeerConfig;
use crate::identity::names::canonical;

/// What the top of the file says.
pub(super) struct Site {
    pub(super) id: KmeId,
    pub(super) saes: BTreeSet<SaeId>,
    pub(super) certificate_names: BTreeMap<String, SaeId>,
    pub(super) peers: Vec<PeerConfig>,
    pub(super) sources: BTreeMap<KmeId, SourceSettings>,
}

/// Where each SAE is served, to find those that are in two places.
#[derive(Default)]
struct Homes(BTreeMap<SaeId, String>);

impl Homes {
    /// Notes that `sae` is served at `home`; complains if it was somewhere before.
    fn note(&mut self, sink: &mut Sink<'_>, sae: &At<SaeId>, home: &str) {
        let Some(before) = self.0.insert(sae.value.clone(), home.to_owned()) else { return };
        let message = if before == home {
            format!("SAE {} is listed twice {home}", sae.value)
        } else {
            format!("SAE {} is both {before} and {home}", sae.value)
        };
        sink.wrong(sae.span, message, "an SAE has one KME: list it once");
    }
}

/// Reads the top of the file and its peers.
pub(super) fn read(top: &mut Section<'_>, folder: &Path, sink: &mut Sink<'_>) -> Option<Site> {
    top.need(sink, "id", "id = \"kme-a\"");
    let id = top.parsed(sink, "id", values::kme);
    let mut homes = Homes::default();
    let saes = top.list(sink, "saes", values::sae).unwrap_or_default();
    for sae in &saes {
        homes.note(sink, sae, "served here");
    }
    let listed: BTreeSet<SaeId> = saes.into_iter().map(|sae| sae.value).collect();
    let certificate_names = names(top.section(sink, "certificate_names"), sink);
    for (_, sae) in &certificate_names {
        if !listed.contains(&sae.value) {
            homes.0.insert(sae.value.clone(), "served here".to_owned());
        }
    }
    let mut ids: BTreeMap<KmeId, Span> = BTreeMap::new();
    let (mut peers, mut sources) = (Vec::new(), BTreeMap::new());
    for section in top.sections(sink, "peer") {
        let Some((peer_id, peer, source)) = peer(section, folder, &mut homes, sink) else { continue };
        if id.as_ref().is_some_and(|id| id.value == peer_id.value) {
            let message = format!("this peer has our own ID, {}", peer_id.value);
            sink.wrong(peer_id.span, message, "every KME of a network has an ID of its own");
        }
        if ids.insert(peer_id.value.clone(), peer_id.span).is_some() {
            let message = format!("there is a peer {} already", peer_id.value);
            sink.wrong(peer_id.span, message, "there is one link, and one [[peer]], for each far end");
        }
        sources.extend(source.map(|source| (peer_id.value, source)));
        peers.push(peer);
    }
    Some(Site {
        id: id?.value,
        saes: listed,
        certificate_names: certificate_names.into_iter().map(|(name, sae)| (name, sae.value)).collect(),
        peers,
        sources,
    })
}

fn names(section: Option<Section<'_>>, sink: &mut Sink<'_>) -> Vec<(String, At<SaeId>)> {
    let Some(mut section) = section else { return Vec::new() };
    let mut names: Vec<(String, At<SaeId>)> = Vec::new();
    for (key, value) in section.rest() {
        let Some(text) = as_text(sink, &key, value) else { continue };
        let sae = match values::sae(&text.value) {
            Ok(value) => At { value, span: text.span },
            Err(wrong) => {
                sink.wrong(text.span, wrong.message, wrong.help);
                continue;
            }
        };
        let name = canonical(&key.value);
        let digits = name.strip_prefix("sha256:");
        if digits.is_some_and(|digits| digits.len() != 64 || digits.chars().any(|c| !c.is_ascii_hexdigit())) {
            let help = "write \"sha256:\" and 64 hex digits; vernam kme inspect-cert prints them";
            sink.wrong(key.span, "this is no SHA-256 fingerprint", help);
        }
        if names.iter().any(|(other, _)| *other == name) {
            sink.wrong(key.span, "this names the same certificate as another line here", "keep one of them");
        }
        names.push((name, sae));
    }
    names
}

fn peer(
    mut section: Section<'_>,
    folder: &Path,
    homes: &mut Homes,
    sink: &mut Sink<'_>,
) -> Option<(At<KmeId>, PeerConfig, Option<SourceSettings>)> {
    section.need(sink, "id", "id = \"kme-b\"");
    let id = section.parsed(sink, "id", values::kme);
    section.need(sink, "address", "address = \"kme-b.example:8443\"");
    let address = section.parsed(sink, "address", values::authority);
    let server_name = section.parsed(sink, "server_name", values::server_name);
    let home = id.as_ref().map_or_else(|| "behind a peer".to_owned(), |id| format!("behind {}", id.value));
    let saes = section.list(sink, "saes", values::sae).unwrap_or_default();
    for sae in &saes {
        homes.note(sink, sae, &home);
    }
    let source = section.section(sink, "source").and_then(|section| sources::read(section, folder, sink));
    section.finish(sink);
    let (id, address) = (id?, address?);
    if server_name.is_none()
        && let Err(wrong) = values::server_name(id.value.as_str())
    {
        sink.wrong(id.span, wrong.message, "add server_name, the name in this peer's certificate: its ID is none");
    }
    let peer = PeerConfig {
        kme_id: id.value.clone(),
        authority: address.value,
        server_name: server_name.map(|name| name.value),
        saes: saes.into_iter().map(|sae| sae.value).collect(),
    };
    Some((id, peer, source))
}
