//! What a "Get key" asks for (ETSI GS QKD 014 V1.1.1, clauses 5.2 and 6.2), checked and planned: how many keys of what
//! size, for whom, over which links.

use std::collections::BTreeSet;

use vernam_etsi014::{Extension, KeyRequest, KmeId, SaeId, messages};

use crate::reply::Refusal;
use crate::{KmeConfig, input};

/// "direct": no key may be carried over a second link; "any".
const ROUTE_TYPE: &str = "vernam_route_type";
/// The most seconds since the bits of a key were deposited.
const MAX_AGE: &str = "vernam_max_age";

/// A checked wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) number: u32,
    pub(crate) bits: u32,
    /// Every slave, the one of the path first.
    pub(crate) slaves: Vec<SaeId>,
    /// Those that are served here.
    pub(crate) local: Vec<SaeId>,
    /// Those elsewhere, by their KMEs. Key of the link to the first is delivered; the others get it carried.
    pub(crate) remote: Vec<(KmeId, Vec<SaeId>)>,
    pub(crate) age: Age,
}

/// How old the bits may be, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) mandatory: Option<u64>,
    pub(crate) optional: Option<u64>,
}

impl Age {
    /// The stricter of both.
    pub(crate) fn strictest(self) -> Option<u64> {
        [self.mandatory, self.optional].into_iter().flatten().min()
    }
}

/// The wish in a GET's query. Parameters that the standard does not know are passed over.
pub(crate) fn of_query(config: &KmeConfig, master: &SaeId, slave: SaeId, query: &str) -> Result<Asked, Refusal> {
    let number = |name| input::number(query, name);
    let request = KeyRequest { number: number("number")?, size: number("size")?, ..KeyRequest::default() };
    wish(config, master, slave, request)
}

/// The wish in a POST's body.
pub(crate) fn of_body(config: &KmeConfig, master: &SaeId, slave: SaeId, body: &[u8]) -> Result<Asked, Refusal> {
    if body.is_empty() && config.choices.empty_body_is_default {
        return wish(config, master, slave, KeyRequest::default());
    }
    wish(config, master, slave, input::object(body, "a key request")?)
}

fn wish(config: &KmeConfig, master: &SaeId, slave: SaeId, request: KeyRequest) -> Result<Asked, Refusal> {
    let limits = &config.limits;
    let (number, bits) = (request.number.unwrap_or(1), request.size.unwrap_or(limits.key_size));
    if !bits.is_multiple_of(8) {
        return Err(Refusal::bad_request(messages::SIZE_MULTIPLE_OF_8));
    }
    let (min, max) = (limits.min_key_size, limits.max_key_size);
    if !(min..=max).contains(&bits) {
        return Err(Refusal::bad_request(format!("size must be {min} to {max} bits here, and {bits} were asked for")));
    }
    let most = limits.max_key_per_request;
    if !(1..=most).contains(&number) {
        return Err(Refusal::bad_request(format!("number must be 1 to {most} here, and {number} were asked for")));
    }
    let slaves = slaves(config, slave, request.additional_slave_sae_ids)?;
    let (mut local, mut remote): (Vec<SaeId>, Vec<(KmeId, Vec<SaeId>)>) = (Vec::new(), Vec::new());
    for sae in &slaves {
        match check_slave(config, master, sae)? {
            None => local.push(sae.clone()),
            Some(kme) => match remote.iter_mut().find(|(known, _)| known == kme) {
                Some((_, there)) => there.push(sae.clone()),
                None => remote.push((kme.clone(), vec![sae.clone()])),
            },
        }
    }
    let age = extensions(
        config,
        request.extension_mandatory.as_ref(),
        request.extension_optional.as_ref(),
        remote.len() > 1,
    )?;
    Ok(Asked { number, bits, slaves, local, remote, age })
}

/// Every slave once, the first one first.
fn slaves(config: &KmeConfig, first: SaeId, additional: Option<Vec<SaeId>>) -> Result<Vec<SaeId>, Refusal> {
    let mut slaves = vec![first];
    let Some(additional) = additional else { return Ok(slaves) };
    if additional.is_empty() && !config.choices.empty_multicast_is_none {
        return Err(Refusal::bad_request("additional_slave_SAE_IDs is empty; leave it out"));
    }
    let most = config.limits.max_sae_id_count;
    if additional.len() > most as usize {
        let text = format!("additional_slave_SAE_IDs may name at most {most} SAEs here (max_SAE_ID_count)");
        return Err(Refusal::bad_request(text));
    }
    let mut once = BTreeSet::from([slaves[0].clone()]);
    for sae in additional {
        if once.insert(sae.clone()) {
            slaves.push(sae);
        } else if !config.choices.merge_duplicate_slaves {
            return Err(Refusal::bad_request(format!("{sae} is named as a slave more than once")));
        }
    }
    Ok(slaves)
}

/// The KME of a slave, `None` for ours.
pub(crate) fn check_slave<'a>(
    config: &'a KmeConfig,
    master: &SaeId,
    slave: &SaeId,
) -> Result<Option<&'a KmeId>, Refusal> {
    if slave == master {
        let refusal = || Refusal::bad_request("an SAE cannot be its own slave here");
        return config.choices.master_may_be_slave.then_some(None).ok_or_else(refusal);
    }
    if let Some(peer) = config.peer_of(slave) {
        return Ok(Some(&peer.kme_id));
    }
    match config.serves(slave) {
        true if config.choices.local_slaves => Ok(None),
        true => Err(Refusal::bad_request(format!(
            "{slave} is served by this KME too; keys are for SAEs at the two ends of a link"
        ))),
        false => Err(Refusal::bad_request(format!("no SAE named {slave} is known here"))),
    }
}

/// The options of ours in a list of extensions.
#[derive(Default)]
struct Options {
    direct: bool,
    max_age: Option<u64>,
    /// Names that are not ours.
    unknown: Vec<String>,
    /// Names of ours with a value that makes no sense here.
    odd: Vec<String>,
}

impl Options {
    fn read(extensions: Option<&Vec<Extension>>) -> Self {
        let mut options = Self::default();
        for (name, value) in extensions.into_iter().flatten().flatten() {
            match (name.as_str(), value.as_str(), value.as_u64()) {
                (ROUTE_TYPE, Some("direct"), _) => options.direct = true,
                (ROUTE_TYPE, Some("any"), _) => {}
                (MAX_AGE, _, Some(age)) => options.max_age = Some(options.max_age.map_or(age, |other| other.min(age))),
                (ROUTE_TYPE | MAX_AGE, _, _) => options.odd.push(name.clone()),
                _ => options.unknown.push(name.clone()),
            }
        }
        options
    }
}

/// What is left of the extensions for the cut: the age. `relayed`: a second link is needed.
fn extensions(
    config: &KmeConfig,
    mandatory: Option<&Vec<Extension>>,
    optional: Option<&Vec<Extension>>,
    relayed: bool,
) -> Result<Age, Refusal> {
    let must = Options::read(mandatory);
    if !must.unknown.is_empty() {
        return Err(Refusal::bad_request(messages::EXTENSION_UNSUPPORTED).detail_of("vernam_unsupported", must.unknown));
    }
    let unmet = unmet(must.odd, must.direct && relayed);
    if !unmet.is_empty() {
        return Err(Refusal::bad_request(messages::EXTENSION_UNMET).detail_of("vernam_unmet", unmet));
    }
    let may = Options::read(optional);
    let mut unhandled = may.unknown;
    unhandled.extend(self::unmet(may.odd, may.direct && relayed));
    if !unhandled.is_empty() && !config.choices.ignore_unhandled_optional {
        return Err(unhandled_optional(unhandled));
    }
    Ok(Age { mandatory: must.max_age, optional: may.max_age })
}

fn unmet(mut odd: Vec<String>, route: bool) -> Vec<String> {
    odd.extend(route.then(|| ROUTE_TYPE.to_owned()));
    odd
}

/// The refusal where bits young enough cannot be had.
pub(crate) fn too_old(mandatory: bool) -> Refusal {
    let names = vec![MAX_AGE.to_owned()];
    if mandatory {
        return Refusal::bad_request(messages::EXTENSION_UNMET).detail_of("vernam_unmet", names);
    }
    unhandled_optional(names)
}

fn unhandled_optional(names: Vec<String>) -> Refusal {
    Refusal::bad_request(messages::EXTENSION_OPTIONAL_UNHANDLED).detail_of("vernam_unhandled", names)
}
