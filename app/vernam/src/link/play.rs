//! Runs the link in virtual time and tells what happens. No clock, no terminal: who calls says when time passes.

use std::{ops::ControlFlow, time::Duration};

use vernam_qkd::{BlockReport, LinkError, LinkEvent};

use super::{
    events::{Block, Event, Growing, Setup, Stamped, Sums},
    model::Model,
};
use crate::cli::LinkOptions;

/// Virtual time passes by this at the least, so that no link can make the run stand still.
const LEAST_STEP: Duration = Duration::from_micros(1);

/// Runs the link until its duration is over or somebody breaks off.
///
/// Light comes in stretches. The last one may be over only after the duration; what it ends within the duration counts.
///
/// `pace` is asked before virtual time becomes what it is given, and may wait; `tell` gets every event. When either
/// breaks off, the run ends with [`Event::Ended`] all the same. Whatever `pace` does, the same seed gives the same
/// events: virtual time only ever stops where the link says that something is to happen.
pub fn play(
    options: &LinkOptions,
    mut pace: impl FnMut(Duration) -> ControlFlow<()>,
    mut tell: impl FnMut(Stamped) -> ControlFlow<()>,
) -> Result<Sums, LinkError> {
    let mut model = Model::new(options)?;
    let mut sums = Sums::default();
    let mut now = Duration::ZERO;
    let end = options.duration.unwrap_or(Duration::MAX);
    let setup = Setup::of(model.config(), options.model, options.seed, options.duration);
    let mut pending = (options.eve.is_some() || options.trouble.is_some()) && options.eve_at < end;
    let mut broken = tell(stamped(now, Event::Started(setup)));
    while broken.is_continue() && now < end {
        let mut next = model.next_event_at().max(now + LEAST_STEP);
        if pending {
            next = next.min(options.eve_at.max(now));
        }
        let due = next.min(end);
        broken = pace(due);
        if broken.is_break() {
            break;
        }
        now = due;
        model.advance(next);
        while let Some(event) = model.poll_event().filter(|_| broken.is_continue()) {
            if let Some(stamped) = told(event, &model, &mut sums, end) {
                broken = tell(stamped);
            }
        }
        if pending && now >= options.eve_at && broken.is_continue() {
            pending = false;
            model.disturb(options.eve, options.trouble);
            let eve = options.eve.map(|eve| eve.to_string());
            let trouble = options.trouble.map(|trouble| trouble.to_string());
            broken = tell(stamped(now, Event::Disturbed { eve, trouble }));
        }
    }
    let _nobody_listens = tell(stamped(now, Event::Ended(sums)));
    Ok(sums)
}

/// An event of the link without its key, which is wiped here; `None` if it happened after the end of the run.
fn told(event: LinkEvent, model: &Model, sums: &mut Sums, end: Duration) -> Option<Stamped> {
    let (at, event) = match event {
        LinkEvent::Block(pair) => (pair.report.end, Event::Block(Box::new(known(&pair.report, None, model)))),
        LinkEvent::Discarded { report, reason } => {
            (report.end, Event::Discarded(Box::new(known(&report, Some(reason.to_string()), model))))
        }
        LinkEvent::Progress(progress) => (progress.at, Event::Progress(Growing::of(&progress))),
        // A newer link may tell more; nothing of it is needed here.
        _ => return None,
    };
    if at > end {
        return None;
    }
    if let Event::Block(block) | Event::Discarded(block) = &event {
        sums.add(block);
    }
    Some(stamped(at, event))
}

/// A block, with what only the simulation knows of it.
fn known(report: &BlockReport, reason: Option<String>, model: &Model) -> Block {
    // There is no tally of a block after which another was finished in the same stretch of light.
    let tally = Some(model.eve_tally()).filter(|tally| tally.block == report.number);
    let decoy_share = Some(report.decoy_share(&model.config().device.intensities()));
    Block { decoy_share, ..Block::of(report, reason, tally) }
}

fn stamped(at: Duration, event: Event) -> Stamped {
    Stamped { t: at.as_secs_f64(), event }
}
