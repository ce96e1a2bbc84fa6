//! Refusals: for people, and for programs as `{"vernam_policy": {...}}`.

use std::time::Duration;

use serde_json::{Map, Value, json};
use vernam_etsi014::{Extension, SaeId};

use super::DAY;

/// Not now.
#[derive(Debug, Clone, PartialEq)]
pub struct Denied {
    /// Why, for people.
    pub message: String,
    /// When it is worth asking again, unless others come before: whole seconds, as `Retry-After` has it (RFC 9110,
    /// section 10.2.3), 1 to 86,400.
    pub retry_after: Duration,
    /// The same for programs: `vernam_policy` with `reason` (`requests`, `rate`, `daily_quota`, `reserve`, `fair_share`),
    /// `retry_after_s`, and the numbers behind it; all amounts in bits.
    pub detail: Extension,
}

/// Numbers behind a share.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShareNumbers {
    pub(super) drawn: u64,
    pub(super) share: u64,
    pub(super) available: u64,
    pub(super) window: Duration,
}

impl Denied {
    fn new(reason: &str, wait: Duration, numbers: Value, message: impl FnOnce(u64) -> String) -> Self {
        let seconds = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).clamp(1, DAY.as_secs());
        let mut detail = Map::new();
        detail.insert("reason".to_owned(), reason.into());
        detail.insert("retry_after_s".to_owned(), seconds.into());
        if let Value::Object(numbers) = numbers {
            detail.extend(numbers);
        }
        Self {
            message: message(seconds),
            retry_after: Duration::from_secs(seconds),
            detail: Extension::from_iter([("vernam_policy".to_owned(), Value::Object(detail))]),
        }
    }

    pub(super) fn requests(sae: &SaeId, per_second: u32, wait: Duration) -> Self {
        Self::new("requests", wait, json!({ "requests_per_second": per_second }), |seconds| {
            format!("{sae} may make {per_second} requests per second; ask again in {seconds} s")
        })
    }

    pub(super) fn rate(sae: &SaeId, bits: u64, rate: u64, burst: u64, available: u64, wait: Duration) -> Self {
        let numbers = json!({
            "asked_bits": bits, "rate_bps": rate, "burst_bits": burst, "available_bits": whole_bytes(available),
        });
        Self::new("rate", wait, numbers, |seconds| {
            let now = at_most(whole_bytes(available));
            format!("{sae} may draw {rate} bits of key per second, and {burst} at once; {now}, or again in {seconds} s")
        })
    }

    pub(super) fn quota(sae: &SaeId, bits: u64, quota: u64, used: u64, wait: Duration) -> Self {
        let available = whole_bytes(quota.saturating_sub(used));
        let numbers =
            json!({ "asked_bits": bits, "daily_bits": quota, "used_bits": used, "available_bits": available });
        Self::new("daily_quota", wait, numbers, |_| {
            let now = at_most(available);
            if bits > quota {
                return format!("{sae} may draw {quota} bits of key a day, and asked for {bits} at once; {now}");
            }
            format!("{sae} may draw {quota} bits of key a day, and has had {used}; {now}, or again after 00:00 UTC")
        })
    }

    pub(super) fn reserve(sae: &SaeId, bits: u64, free: u64, reserve: u64, wait: Duration) -> Self {
        let available = whole_bytes(free.saturating_sub(reserve));
        let numbers =
            json!({ "asked_bits": bits, "free_bits": free, "reserve_bits": reserve, "available_bits": available });
        Self::new("reserve", wait, numbers, |seconds| {
            let now = at_most(available);
            format!("the last {reserve} bits in store are not for {sae}; {now}, or again in {seconds} s")
        })
    }

    pub(super) fn fair_share(sae: &SaeId, bits: u64, numbers: ShareNumbers, wait: Duration) -> Self {
        let ShareNumbers { drawn, share, available, window } = numbers;
        let (window, available) = (window.as_secs(), whole_bytes(available));
        let numbers = json!({
            "asked_bits": bits, "drawn_bits": drawn, "share_bits": share, "available_bits": available,
            "window_s": window,
        });
        Self::new("fair_share", wait, numbers, |seconds| {
            let now = at_most(available);
            format!(
                "key is short, and shared out: of {share} bits that are {sae}'s share it has had {drawn} in the last \
                 {window} s; {now}, or again in {seconds} s"
            )
        })
    }
}

/// Keys have whole bytes.
fn whole_bytes(bits: u64) -> u64 {
    bits / 8 * 8
}

fn at_most(bits: u64) -> String {
    if bits == 0 { "there is nothing for it now".to_owned() } else { format!("ask for at most {bits} bits now") }
}
