//! What is granted at most, where readers of the standard disagree, and who may have how much.

use std::time::Duration;

use vernam_etsi014::SaeId;

use super::report::Sink;
use super::section::{At, Section};
use super::values;
use crate::{Choices, Limits, PolicyConfig, SaePolicy};

/// The shortest time that can be set for anything.
const TICK: Duration = Duration::from_millis(100);
/// The longest time that a stranger may hold anything up.
const LONG: Duration = Duration::from_mins(10);
/// The most of anything that is counted one by one: connections, requests.
const MANY: usize = 1 << 20;
/// The largest key that can be set, bits: 8 MiB.
const MAX_KEY_SIZE: u32 = 1 << 26;
/// The most keys in one request that can be set.
const MAX_KEYS: u32 = 1 << 16;
/// The most additional slaves that can be set.
const MAX_SLAVES: u32 = 1 << 10;

fn set<T>(field: &mut T, read: Option<At<T>>) {
    if let Some(read) = read {
        *field = read.value;
    }
}

/// `[limits]`.
pub(super) fn limits(section: Option<Section<'_>>, sink: &mut Sink<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(mut section) = section else { return limits };
    sizes(&mut limits, &mut section, sink);
    set(&mut limits.max_key_per_request, section.number(sink, "max_key_per_request", 1..=MAX_KEYS));
    set(&mut limits.max_sae_id_count, section.number(sink, "max_sae_id_count", 0..=MAX_SLAVES));
    for (key, field) in [
        ("max_handshakes", &mut limits.max_handshakes),
        ("max_connections", &mut limits.max_connections),
        ("max_connections_per_caller", &mut limits.max_connections_per_caller),
        ("max_connections_per_peer", &mut limits.max_connections_per_peer),
        ("max_peer_requests", &mut limits.max_peer_requests),
    ] {
        set(field, section.number(sink, key, 1..=MANY));
    }
    let per_sae = section.number(sink, "max_peer_requests_per_sae", 1..=MANY);
    match per_sae {
        Some(per_sae) if per_sae.value > limits.max_peer_requests => {
            let all = limits.max_peer_requests;
            let help = format!("write at most {all}, or raise max_peer_requests");
            sink.wrong(per_sae.span, format!("one SAE cannot have more requests than all ({all})"), help);
        }
        Some(per_sae) => limits.max_peer_requests_per_sae = per_sae.value,
        None => limits.max_peer_requests_per_sae = limits.max_peer_requests_per_sae.min(limits.max_peer_requests),
    }
    set(&mut limits.max_body, section.number(sink, "max_body_bytes", 1 << 10..=64 << 20));
    set(&mut limits.max_peer_body, section.number(sink, "max_peer_body_bytes", 64 << 10..=256 << 20));
    for (key, field) in [
        ("handshake_timeout", &mut limits.handshake_timeout),
        ("idle_timeout", &mut limits.idle_timeout),
        ("write_timeout", &mut limits.write_timeout),
        ("body_timeout", &mut limits.body_timeout),
        ("peer_turn_timeout", &mut limits.peer_turn_timeout),
        ("peer_connect_timeout", &mut limits.peer_connect_timeout),
        ("peer_timeout", &mut limits.peer_timeout),
        ("shutdown_grace", &mut limits.shutdown_grace),
    ] {
        set(field, section.duration(sink, key, TICK..=LONG));
    }
    let lifetime = Duration::from_secs(1)..=Duration::from_hours(30 * 24);
    set(&mut limits.connection_lifetime, section.duration(sink, "connection_lifetime", lifetime));
    section.finish(sink);
    limits
}

fn sizes(limits: &mut Limits, section: &mut Section<'_>, sink: &mut Sink<'_>) {
    let mut last = None;
    for (key, field) in [
        ("min_key_size", &mut limits.min_key_size),
        ("key_size", &mut limits.key_size),
        ("max_key_size", &mut limits.max_key_size),
    ] {
        let Some(size) = section.number(sink, key, 8..=MAX_KEY_SIZE) else { continue };
        if size.value % 8 != 0 {
            let (below, above) = (size.value / 8 * 8, size.value / 8 * 8 + 8);
            let help = format!("sizes are in bits: write {below} or {above}");
            sink.wrong(size.span, format!("{key} must be a multiple of 8 (ETSI GS QKD 014, clause 6.2)"), help);
        }
        *field = size.value;
        last = Some(size.span);
    }
    let in_order = [limits.min_key_size, limits.key_size, limits.max_key_size];
    if let Some(span) = last.filter(|_| !in_order.is_sorted()) {
        let [min, default, max] = in_order;
        let message = format!("min_key_size ({min}), key_size ({default}), max_key_size ({max}) must not descend");
        sink.wrong(span, message, "raise the latter or lower the former; those not given have their defaults");
    }
}

/// `[choices]`.
pub(super) fn choices(section: Option<Section<'_>>, sink: &mut Sink<'_>) -> Choices {
    const PRESETS: &[(&str, Choices)] = &[("lenient", Choices::lenient()), ("strict", Choices::strict())];
    let Some(mut section) = section else { return Choices::default() };
    let preset = section.parsed(sink, "preset", values::one_of(PRESETS));
    let mut choices = preset.map(|preset| preset.value).unwrap_or_default();
    for (key, field) in [
        ("empty_body_is_default", &mut choices.empty_body_is_default),
        ("empty_multicast_is_none", &mut choices.empty_multicast_is_none),
        ("merge_duplicate_slaves", &mut choices.merge_duplicate_slaves),
        ("master_may_be_slave", &mut choices.master_may_be_slave),
        ("local_slaves", &mut choices.local_slaves),
        ("ignore_unhandled_optional", &mut choices.ignore_unhandled_optional),
    ] {
        set(field, section.flag(sink, key));
    }
    section.finish(sink);
    choices
}

/// `[policy]`.
pub(super) fn policy(section: Option<Section<'_>>, sink: &mut Sink<'_>, limits: &Limits) -> PolicyConfig {
    let mut policy = PolicyConfig::default();
    let Some(mut section) = section else { return policy };
    sae_policy(&mut policy.default, &mut section, sink, limits);
    set(&mut policy.reserve_bits, section.number(sink, "reserve_bits", 0..=MAX_BITS));
    set(&mut policy.fair_below_bits, section.number(sink, "fair_below_bits", 0..=MAX_BITS));
    let window = Duration::from_secs(1)..=Duration::from_hours(24);
    set(&mut policy.fair_window, section.duration(sink, "fair_window", window));
    if let Some(mut saes) = section.section(sink, "sae") {
        for (name, mut section) in saes.named_sections(sink) {
            let mut own = policy.default;
            sae_policy(&mut own, &mut section, sink, limits);
            section.finish(sink);
            match SaeId::new(name.value) {
                Ok(sae) => drop(policy.saes.insert(sae, own)),
                Err(error) => sink.wrong(name.span, format!("this is no SAE ID: {error}"), ""),
            }
        }
    }
    section.finish(sink);
    policy
}

/// The most bits of anything: a TOML number holds no more.
const MAX_BITS: u64 = i64::MAX.unsigned_abs();

fn sae_policy(policy: &mut SaePolicy, section: &mut Section<'_>, sink: &mut Sink<'_>, limits: &Limits) {
    let rate = section.number(sink, "rate_bits_per_second", 1..=MAX_BITS);
    policy.rate_bps = rate.map(|rate| rate.value).or(policy.rate_bps);
    let burst = section.number(sink, "burst_bits", 8..=MAX_BITS);
    if let Some(burst) = burst {
        let largest = u64::from(limits.max_key_size);
        if burst.value < largest {
            let message = format!("with less than max_key_size ({largest}), the largest key could never be had");
            sink.wrong(burst.span, message, format!("write {largest} or more, or lower max_key_size"));
        }
        policy.burst_bits = burst.value;
    }
    let requests = section.number(sink, "requests_per_second", 1..=u32::MAX);
    policy.requests_per_second = requests.map(|requests| requests.value).or(policy.requests_per_second);
    let daily = section.number(sink, "daily_bits", 1..=MAX_BITS);
    policy.daily_bits = daily.map(|daily| daily.value).or(policy.daily_bits);
    set(&mut policy.may_use_reserve, section.flag(sink, "may_use_reserve"));
    set(&mut policy.weight, section.number(sink, "weight", 1..=1_000_000));
}
