//! Which bit rate a running call should have: tells the [`ProfilePolicy`] what is measured, and keeps its wishes from
//! getting in the way of what people ask for. It measures nothing itself, and knows nothing of what is said.

use std::time::Duration;

use vernam_audio::codec::{Conditions, MIN_BETWEEN_CHANGES, ProfilePolicy, VOICE_TAG_BYTES};
use vernam_audio::{CodecSettings, Profile};
use vernam_session::{CallTerms, Message, Suite};

use crate::command::CallProposal;
use crate::event::CallStats;
use crate::limits::RAISE_SECONDS;
use crate::phone::PhoneEvent;

/// How often the policy is asked.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Whether something is for the person to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    ToThePerson,
    /// It is about a wish that the person never had.
    ToNobody,
}

/// Follows one call. Only the calling side's wishes.
pub(super) struct Adapt {
    /// None where the person chose settings of no name: those stay.
    policy: Option<ProfilePolicy>,
    terms: CallTerms,
    /// What was agreed is kept for so long at least.
    not_before: Duration,
    looked_at: Option<Duration>,
    /// Somebody asked for other terms, and nobody has answered.
    under_way: bool,
    /// What we asked for ourselves last, until that is answered.
    wished: Option<CallTerms>,
    /// The wish is just being said: a refusal is ours to bear.
    pub(super) asks: bool,
}

impl Adapt {
    /// For a call that begins with `terms` at `now`: what was agreed is what the person chose.
    pub(super) fn new(terms: CallTerms, now: Duration) -> Self {
        Self {
            policy: policy_of(terms),
            terms,
            not_before: now + MIN_BETWEEN_CHANGES,
            looked_at: None,
            under_way: false,
            wished: None,
            asks: false,
        }
    }

    /// What to ask for now, if anything: `terms` are the call's, and `scarce` bytes of pad are in stock for the direction
    /// that has less.
    pub(super) fn look(
        &mut self,
        terms: CallTerms,
        stats: &CallStats,
        scarce: u64,
        now: Duration,
    ) -> Option<CallTerms> {
        self.now_under(terms);
        let early = now < self.not_before || self.looked_at.is_some_and(|at| now < at + LOOK_PAUSE);
        // Until the new flow is sent, what is measured is the old one's.
        if early || self.under_way || stats.terms != terms || stats.sent_under != terms.suite {
            return None;
        }
        self.looked_at = Some(now);
        let otp = terms.suite == Suite::Otp;
        let policy = self.policy.as_mut()?;
        let in_use = policy.in_use();
        let in_hand = stats.packets_in_hand.unwrap_or(0).saturating_mul(packet_pad(&in_use));
        let pad_left = otp.then(|| in_use.pad_lasts(scarce.saturating_add(in_hand)));
        // Both directions go by the same terms, so the worse one decides.
        #[expect(clippy::cast_possible_truncation, reason = "a percentage")]
        let here = (stats.lost_percent as f32, stats.burst);
        let there = (f32::from(stats.lost_at_contact_percent), stats.burst_at_contact);
        let (loss, burst) = if here.0 > there.0 { here } else { there };
        let wish = policy.wish(&Conditions { now, loss, burst, pad_left })?;
        // A new flow needs a block of its own, and gives up what is left of the old one's.
        if otp && wish.settings.pad_lasts(scarce) < Duration::from_secs(RAISE_SECONDS) {
            return None;
        }
        let wished = CallProposal { suite: terms.suite, codec: wish.settings }.terms()?;
        self.wished = Some(wished);
        Some(wished)
    }

    /// The call has these terms.
    fn now_under(&mut self, terms: CallTerms) {
        if self.terms == terms {
            return;
        }
        let by_us = self.wished == Some(terms) && self.terms.suite == terms.suite;
        self.terms = terms;
        self.wished = None;
        match (self.policy.as_mut(), CallProposal::of(terms)) {
            (Some(policy), Some(proposal)) if by_us => policy.now_uses(proposal.codec),
            // A person chose them.
            _ => self.policy = policy_of(terms),
        }
    }

    /// What the telephone says to the contact.
    pub(super) fn sent(&mut self, message: &Message) {
        match message {
            Message::ChangeAsk { .. } => self.under_way = true,
            Message::ChangeAnswer { .. } => self.under_way = false,
            _ => {}
        }
    }

    /// What the telephone says to the person.
    pub(super) fn told(&mut self, event: &PhoneEvent) -> Told {
        let whose = if self.wished.is_some() { Told::ToNobody } else { Told::ToThePerson };
        match event {
            PhoneEvent::ChangeAsked { .. } => self.under_way = true,
            PhoneEvent::Changed { terms } => {
                self.under_way = false;
                self.now_under(*terms);
            }
            PhoneEvent::Answered { terms } => {
                self.under_way = false;
                self.now_under(*terms);
                self.wished = None;
            }
            PhoneEvent::ChangeDeclined => {
                (self.under_way, self.wished) = (false, None);
                return whose;
            }
            PhoneEvent::Refused { .. } if self.asks => {
                self.wished = None;
                return Told::ToNobody;
            }
            _ => {}
        }
        Told::ToThePerson
    }
}

/// A policy for terms that a person chose: under one-time pad the stock decides, else the profile with these settings.
fn policy_of(terms: CallTerms) -> Option<ProfilePolicy> {
    let codec = CallProposal::of(terms)?.codec;
    if terms.suite == Suite::Otp {
        return Some(ProfilePolicy::new(Profile::OneTimePad, codec));
    }
    let named = [Profile::Standard, Profile::LowDelay, Profile::HardNetwork];
    let chosen = named.into_iter().find(|profile| profile.settings().with_frame(codec.frame()) == codec)?;
    Some(ProfilePolicy::new(chosen, codec))
}

/// Bytes of pad that one packet takes.
fn packet_pad(codec: &CodecSettings) -> u64 {
    (codec.packet_len() + VOICE_TAG_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(suite: Suite, codec: CodecSettings) -> CallTerms {
        CallProposal { suite, codec }.terms().unwrap()
    }

    fn measured(terms: CallTerms, lost_at_contact_percent: u8) -> CallStats {
        let in_hand = (terms.suite == Suite::Otp).then_some(100);
        CallStats { lost_at_contact_percent, packets_in_hand: in_hand, ..CallStats::of(terms) }
    }

    /// A call of so many seconds, five looks a second, whose wishes all come true: when it went over to which bit rate.
    fn call(
        start: CallTerms,
        seconds: u32,
        loss: impl Fn(u32) -> u8,
        mut stock: impl FnMut(CallTerms) -> u64,
    ) -> Vec<(u32, u32)> {
        let (mut adapt, mut now_under, mut changes) = (Adapt::new(start, Duration::ZERO), start, Vec::new());
        for tick in 0..seconds * 5 {
            let second = tick / 5;
            let (stats, now) = (measured(now_under, loss(second)), Duration::from_millis(200) * tick);
            if let Some(wish) = adapt.look(now_under, &stats, stock(now_under), now) {
                assert_eq!((wish.suite, wish.frame_ms), (start.suite, start.frame_ms));
                adapt.sent(&Message::ChangeAsk { call: 2, new: 4, terms: wish });
                assert_eq!(adapt.look(now_under, &stats, 0, now + Duration::from_mins(1)), None, "under way");
                now_under = wish;
                assert_eq!(adapt.told(&PhoneEvent::Changed { terms: wish }), Told::ToThePerson);
                changes.push((second, wish.bit_rate));
            }
        }
        changes
    }

    #[test]
    fn loss_at_the_contact_leads_to_the_hard_profile_and_half_a_minute_without_leads_back() {
        let start = terms(Suite::Aes256Gcm, CodecSettings::standard());
        let changes = call(start, 120, |second| if second < 20 { 20 } else { 0 }, |_| 0);
        assert_eq!(changes, [(10, 48_000), (50, 32_000)]);
        assert_eq!(call(start, 120, |_| 9, |_| 0), [], "FEC is enough");
        let chosen = terms(Suite::Aes256Gcm, CodecSettings::low_delay());
        assert_eq!(call(chosen, 120, |_| 30, |_| 0), [], "whoever chose has it");
        let unnamed = terms(Suite::Aes256Gcm, CodecSettings::one_time_pad());
        assert_eq!(call(unnamed, 120, |_| 30, |_| 0), [], "whoever chose numbers has those");
    }

    #[test]
    fn losses_in_bursts_lead_to_the_hard_profile_at_a_loss_at_which_single_ones_do_not() {
        let start = terms(Suite::Aes256Gcm, CodecSettings::standard());
        let at = Duration::from_secs(20);
        let wish = |here: (f64, f32), there: (u8, f32)| {
            let stats = CallStats {
                lost_percent: here.0,
                burst: here.1,
                lost_at_contact_percent: there.0,
                burst_at_contact: there.1,
                ..CallStats::of(start)
            };
            Adapt::new(start, Duration::ZERO).look(start, &stats, 0, at).map(|wish| wish.bit_rate)
        };
        assert_eq!(wish((0.0, 0.0), (6, 1.2)), None, "single losses");
        assert_eq!(wish((0.0, 0.0), (6, 3.0)), Some(48_000), "at the contact's");
        assert_eq!(wish((6.0, 3.0), (0, 0.0)), Some(48_000), "here");
        assert_eq!(wish((0.5, 9.0), (6, 1.0)), None, "the direction that loses more counts");
    }

    #[test]
    fn a_stock_that_dwindles_leads_down_the_ladder_and_never_to_the_last_of_it() {
        let start = terms(Suite::Otp, CodecSettings::one_time_pad());
        let mut stock = 320 * CodecSettings::one_time_pad().pad_bytes_per_second();
        let changes = call(
            start,
            400,
            |_| 30,
            |terms| {
                let rate = CallProposal::of(terms).unwrap().codec.pad_bytes_per_second();
                stock = stock.saturating_sub(rate / 5);
                stock
            },
        );
        assert_eq!(changes.iter().map(|(_, rate)| *rate).collect::<Vec<_>>(), [12_000, 8_000]);
        assert!(changes[0].0 >= 20 && changes[1].0 >= changes[0].0 + 10, "{changes:?}");
        assert_eq!(call(start, 60, |_| 0, |_| 4_000), [], "too little for another flow's first block");
    }

    #[test]
    fn nobody_is_asked_or_told_while_others_ask_and_what_people_choose_is_the_new_start() {
        let start = terms(Suite::Aes256Gcm, CodecSettings::standard());
        let mut adapt = Adapt::new(start, Duration::ZERO);
        let at = Duration::from_secs;
        adapt.told(&PhoneEvent::ChangeAsked { terms: start });
        assert_eq!(adapt.look(start, &measured(start, 20), 0, at(20)), None, "a question is open");
        adapt.sent(&Message::ChangeAnswer { new: 4, yes: false });
        let wish = adapt.look(start, &measured(start, 20), 0, at(21)).unwrap();
        adapt.sent(&Message::ChangeAsk { call: 2, new: 6, terms: wish });
        assert_eq!(adapt.told(&PhoneEvent::ChangeDeclined), Told::ToNobody, "no person asked");
        assert_eq!(adapt.look(start, &measured(start, 20), 0, at(30)), None, "not soon again");
        assert_eq!(adapt.look(start, &measured(start, 20), 0, at(31)), Some(wish));
        let hard = terms(Suite::Aes256Gcm, CodecSettings::hard_network().with_bit_rate(64_000).unwrap());
        adapt.told(&PhoneEvent::Changed { terms: hard });
        assert_eq!(adapt.told(&PhoneEvent::ChangeDeclined), Told::ToThePerson);
        assert_eq!(adapt.look(hard, &measured(hard, 0), 0, at(200)), None, "a person chose that");
    }
}
