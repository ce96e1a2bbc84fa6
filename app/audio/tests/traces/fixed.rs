//! A jitter buffer of a fixed delay, to compare with.
//!
//! It plays the first packet so long after it came, and then one frame each frame's time, whether it is there or not. A
//! missing frame is taken from the copy in a later packet, if one with a copy is there. After ten frames in a row without
//! a packet, and when 200 ms more than its delay are held, it starts afresh.

use std::collections::BTreeSet;

use crate::judge::{Part, Played, Verdict};
use crate::sent::{Sent, sent};
use crate::trace::Trace;

/// With the first pull at `phase` microseconds.
pub(crate) fn play(trace: &Trace, delay_ms: u64, phase: u64) -> Verdict {
    let frame = u64::from(trace.frame().millis()) * 1_000;
    let sent = sent(trace.codec);
    let mut arrivals = trace.arrivals().into_iter().peekable();
    let mut there = BTreeSet::new();
    let (mut head, mut start, mut missed) = (None::<u32>, None::<u64>, 0);
    let mut played = Vec::new();
    let end = trace.packets.last().unwrap().0;
    for pull in (0..).map(|pull| phase + pull * frame).take_while(|at| *at < end) {
        while let Some((at, seq)) = arrivals.next_if(|(at, _)| *at <= pull) {
            start.get_or_insert(at);
            there.insert(seq);
        }
        let newest = there.last().copied().unwrap_or(0);
        if head.is_some_and(|head| u64::from(newest.saturating_sub(head)) * frame > (delay_ms + 200) * 1_000) {
            head = Some(newest - u32::try_from(delay_ms * 1_000 / frame).unwrap());
        }
        if head.is_none() && start.is_some_and(|start| pull >= start + delay_ms * 1_000) {
            head = there.first().copied();
        }
        let mut part = Part::MadeUp;
        if let Some(seq) = head {
            missed += 1;
            if there.contains(&seq) {
                (part, missed) = (Part::Packet(seq), 0);
            } else if has_copy(sent, &there, seq) {
                part = Part::Copy(seq);
            }
            there = there.split_off(&(seq + 1));
            head = Some(seq + 1);
            if missed >= 10 && there.is_empty() {
                (head, start, missed) = (None, None, 0);
            }
        }
        played.push(Played { at: pull, samples: i64::from(trace.frame().millis()) * 48, part });
    }
    Verdict::of(trace, &played)
}

/// Whether the first packet after `seq` that is there can stand in for it.
fn has_copy(sent: &Sent, there: &BTreeSet<u32>, seq: u32) -> bool {
    there.range(seq + 1..).next().is_some_and(|later| sent.reach(*later) >= later - seq)
}
