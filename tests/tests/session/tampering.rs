//! Whoever broke the outer layer: every record altered, repeated, sent back, moved to another flow or cut off is
//! refused, counted and reported, and the flow lives on where it can.

use vernam_key::{Control, File, Purpose, Text, Voice};
use vernam_session::limits::{MAX_REFUSALS, RECORD_HEADER_LEN, STREAM_HEADER_LEN, VOICE_HEADER_LEN};
use vernam_session::{FlowId, Message, Refusal, SessionError, Suite};
use vernam_tests::world::{CONTROL, Path, Seen, Setup, Side, Unit, World};

const TEXT: FlowId = FlowId::of::<Text>(1);
const FILE: FlowId = FlowId::of::<File>(1);
const FRAME: [u8; 60] = [0x5a; 60];

/// Puts `change`d copies of the records on `path` before the genuine ones: an attacker who inserts. Units that `change`
/// makes nothing of pass alone.
fn insert_before(world: &mut World, path: Path, mut change: impl FnMut(&Unit) -> Vec<Unit> + 'static) {
    world.intercept(move |unit| {
        let header_only = matches!(unit.path, Path::Stream(_)) && unit.bytes.len() == STREAM_HEADER_LEN;
        let mut units = if unit.path == path && !header_only { change(unit) } else { Vec::new() };
        units.push(unit.clone());
        units
    });
}

fn flipped(unit: &Unit, at: usize) -> Unit {
    let mut unit = unit.clone();
    unit.bytes[at] ^= 0x80;
    unit
}

/// Every byte of a short record but its length, each in a copy of its own.
fn every_byte_flipped(unit: &Unit) -> Vec<Unit> {
    let length = 13..RECORD_HEADER_LEN;
    (1..unit.bytes.len()).filter(|at| !length.contains(at)).map(|at| flipped(unit, at)).collect()
}

#[test]
fn altered_text_records_are_refused_and_the_conversation_goes_on() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        insert_before(&mut world, Path::Stream(TEXT), every_byte_flipped);
        world.write(Side::Alice, 1, suite, "yes");
        world.write(Side::Alice, 1, suite, "no");
        world.run();
        assert_eq!(world[Side::Bob].texts(), ["yes", "no"], "{suite}");
        let refused = |why| world[Side::Bob].refused(Text::CODE, why);
        // Ciphertext and tag altered: 16 + 8 + 3 or 2 bytes of text, and 16 of tag.
        assert_eq!(refused(Refusal::Forged), 16 + 3 + 16 + 16 + 2 + 16, "{suite}");
        // The generation's four bytes; the number's eight, of which one makes the second record's 1 no smaller.
        assert_eq!(refused(Refusal::UnknownKey), 2 * 4);
        assert_eq!(refused(Refusal::Gap) + refused(Refusal::Replayed), 2 * 8);
        let counted = world[Side::Bob].texts_in[&1].opener.counters();
        assert_eq!((counted.accepted, counted.refused[&Refusal::UnknownKey]), (2, 8));
    }
}

#[test]
fn the_last_flag_is_authenticated() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        insert_before(&mut world, Path::Stream(TEXT), |unit| {
            let mut unit = unit.clone();
            unit.bytes[0] ^= 1;
            vec![unit]
        });
        world.write(Side::Alice, 1, suite, "not the last word");
        world.run();
        assert_eq!(world[Side::Bob].refused(Text::CODE, Refusal::Forged), 1);
        assert!(!world[Side::Bob].texts_in[&1].opener.is_complete());
        assert_eq!(world[Side::Bob].texts(), ["not the last word"]);
    }
}

#[test]
fn altered_file_records_are_refused_and_the_file_still_arrives() {
    let bytes: Vec<u8> = (0..20_000_u32).map(|at| at.to_be_bytes()[2] ^ at.to_be_bytes()[3]).collect();
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        insert_before(&mut world, Path::Stream(FILE), |unit| {
            vec![flipped(unit, RECORD_HEADER_LEN), flipped(unit, unit.bytes.len() - 1)]
        });
        world.send_file(Side::Alice, 1, suite, &bytes);
        world.run();
        let got: Vec<u8> = world[Side::Bob].records::<File>().flatten().copied().collect();
        assert!(got == bytes, "{suite}");
        let opener = &world[Side::Bob].files_in[&1].opener;
        assert!(opener.is_complete());
        assert_eq!(opener.counters().refused[&Refusal::Forged], 2 * opener.counters().accepted, "{suite}");
    }
}

#[test]
fn altered_control_records_are_refused_and_the_session_goes_on() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        insert_before(&mut world, Path::Stream(CONTROL), |unit| {
            (RECORD_HEADER_LEN..unit.bytes.len()).map(|at| flipped(unit, at)).collect()
        });
        let now = world.around.now;
        world[Side::Alice].session.send(Message::Ringing { call: 7 }, now);
        world[Side::Alice].session.send(Message::Answer { call: 7 }, now);
        world.run();
        let bob = &world[Side::Bob];
        assert_eq!(bob.messages(), [&Message::Ringing { call: 7 }, &Message::Answer { call: 7 }]);
        assert_eq!(bob.refused(Control::CODE, Refusal::Forged), 2 * (5 + 16), "{suite}");
        assert!(bob.session.is_established());
    }
}

#[test]
fn repeated_records_are_refused_once_more() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        world.intercept(
            |unit| if unit.bytes.len() == STREAM_HEADER_LEN { vec![unit.clone()] } else { vec![unit.clone(); 3] },
        );
        world.begin_call(1, suite, FRAME.len());
        world.write(Side::Alice, 1, suite, "once");
        world.send_file(Side::Alice, 1, suite, b"and for all");
        world.say(Side::Alice, 1, &FRAME);
        world.run();
        let bob = &world[Side::Bob];
        assert_eq!(bob.texts(), ["once"], "{suite}");
        assert_eq!(bob.heard(), [0]);
        assert_eq!(bob.records::<File>().collect::<Vec<_>>(), [b"and for all"]);
        assert_eq!(bob.refused(Text::CODE, Refusal::Replayed), 2);
        assert_eq!(bob.refused(Voice::CODE, Refusal::Replayed), 2);
        assert_eq!(bob.refused(File::CODE, Refusal::AfterEnd), 2);
        assert!(bob.refused(Control::CODE, Refusal::Replayed) >= 2);
        assert!(bob.session.is_established() && world[Side::Alice].session.is_established());
    }
}

#[test]
fn what_is_sent_back_to_its_sender_is_refused() {
    for (suite, side) in Suite::ALL.into_iter().flat_map(|suite| Side::BOTH.map(|side| (suite, side))) {
        let mut world = World::established(Setup::with(suite));
        world.begin_call(1, suite, FRAME.len());
        for side in Side::BOTH {
            world.write(side, 1, suite, "hello");
        }
        world.run();
        // The same flow numbers, generations and record numbers are in use both ways.
        world.intercept(|unit| vec![Unit { from: unit.from.other(), ..unit.clone() }, unit.clone()]);
        world.write(side, 1, suite, "again");
        world.say(side, 1, &FRAME);
        world.run();
        assert_eq!(world[side].texts(), ["hello"], "{suite}");
        assert_eq!(world[side].refused(Text::CODE, Refusal::Forged), 1, "{suite}");
        assert_eq!((world[side].heard().len(), world[side].refused(Voice::CODE, Refusal::Forged)), (0, 1), "{suite}");
        assert_eq!((world[side.other()].texts().len(), world[side.other()].heard().len()), (2, 1));
        world.intercept_no_more();
        world.write(side.other(), 1, suite, "and back");
        world.run();
        assert_eq!(world[side].texts(), ["hello", "and back"], "{suite}");
    }
}

#[test]
fn a_record_moved_to_another_flow_is_refused_there() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        let other = FlowId::of::<Text>(2);
        world.write(Side::Alice, 2, suite, "elsewhere");
        world.run();
        insert_before(&mut world, Path::Stream(TEXT), move |unit| {
            // Its number as the other flow expects it next.
            let mut moved = Unit { path: Path::Stream(other), ..unit.clone() };
            moved.bytes[12] = 1;
            vec![moved]
        });
        world.write(Side::Alice, 1, suite, "here");
        world.run();
        world.write(Side::Alice, 2, suite, "there");
        world.run();
        assert_eq!(world[Side::Bob].texts().len(), 3, "{suite}");
        assert_eq!(world[Side::Bob].texts_in[&2].opener.counters().refused[&Refusal::Forged], 1);
        assert_eq!(world[Side::Bob].texts_in[&2].opener.counters().accepted, 2);
    }
}

#[test]
fn a_voice_packet_moved_to_another_call_is_refused_there() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        world.begin_call(1, suite, FRAME.len());
        world.begin_call(2, suite, FRAME.len());
        insert_before(&mut world, Path::Datagram, |unit| {
            let mut moved = unit.clone();
            moved.bytes[4] = 3 - moved.bytes[4];
            vec![moved]
        });
        world.say(Side::Alice, 1, &FRAME);
        world.run();
        assert_eq!(world[Side::Bob].heard(), [0]);
        assert_eq!(world[Side::Bob].calls[&2].opener.counters().refused[&Refusal::Forged], 1, "{suite}");
    }
}

#[test]
fn records_that_change_places_are_refused() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        world.write(Side::Alice, 1, suite, "zero");
        world.run();
        let mut held: Option<Unit> = None;
        world.intercept(move |unit| {
            if unit.path != Path::Stream(TEXT) {
                return vec![unit.clone()];
            }
            match held.take() {
                Some(first) => vec![unit.clone(), first],
                None => {
                    held = Some(unit.clone());
                    Vec::new()
                }
            }
        });
        world.write(Side::Alice, 1, suite, "one");
        world.write(Side::Alice, 1, suite, "two");
        world.run();
        // "two" came first and left a gap; "one" was still what was awaited.
        assert_eq!(world[Side::Bob].texts(), ["zero", "one"], "{suite}");
        assert_eq!(world[Side::Bob].refused(Text::CODE, Refusal::Gap), 1);
    }
}

#[test]
fn a_stream_cut_short_is_told_from_one_that_ended() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        let mut units = 0;
        world.intercept(move |unit| {
            units += u32::from(unit.path == Path::Stream(FILE));
            let keep = unit.path != Path::Stream(FILE) || units <= 3;
            if keep { vec![unit.clone()] } else { Vec::new() }
        });
        world.send_file(Side::Alice, 1, suite, &vec![7; 200_000]);
        world.run();
        world.cut(Side::Alice, FILE);
        world.run();
        assert_eq!(world[Side::Bob].seen.last(), Some(&Seen::CutOff(FILE)), "{suite}");
        world.intercept_no_more();

        world.send_file(Side::Bob, 1, suite, b"whole");
        world.run();
        world.cut(Side::Bob, FILE);
        world.run();
        assert_eq!(world[Side::Alice].seen.last(), Some(&Seen::Ended(FILE)), "{suite}");
    }
}

#[test]
fn a_control_stream_cut_off_is_no_proper_end() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        world.cut(Side::Alice, CONTROL);
        world.run();
        assert_eq!(world[Side::Bob].closed(), Some(&Some(SessionError::Truncated)));

        let mut world = World::established(Setup::with(suite));
        let now = world.around.now;
        world[Side::Alice].session.bye(now);
        world.run();
        for side in Side::BOTH {
            assert_eq!(world[side].closed(), Some(&None), "{suite} {side:?}");
        }
    }
}

#[test]
fn a_broken_length_loses_its_own_stream_and_nothing_else() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        insert_before(&mut world, Path::Stream(TEXT), |unit| vec![flipped(unit, 13)]);
        world.write(Side::Alice, 1, suite, "never read");
        world.write(Side::Alice, 2, suite, "read");
        world.run();
        let bob = &world[Side::Bob];
        assert!(bob.seen.contains(&Seen::Lost(TEXT)), "{suite}");
        assert_eq!(bob.texts_in[&1].buffered(), 0);
        assert_eq!(bob.texts(), ["read"]);
        assert!(bob.session.is_established());
    }
}

#[test]
fn a_flood_of_forgeries_ends_its_own_flow_and_costs_no_memory() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        world.begin_call(1, suite, FRAME.len());
        world.write(Side::Alice, 1, suite, "first");
        world.say(Side::Alice, 1, &FRAME);
        world.run();
        let text = sent(&world, Path::Stream(TEXT));
        let voice = sent(&world, Path::Datagram);
        for _ in 0..2 * MAX_REFUSALS {
            let mut forged = flipped(&text, text.bytes.len() - 1);
            forged.bytes[12] = 1; // the number that is awaited
            world.forge(forged);
            let mut forged = flipped(&voice, VOICE_HEADER_LEN);
            forged.bytes[12] = 1;
            world.forge(forged);
        }
        world.run();
        let bob = &world[Side::Bob];
        let limit = usize::try_from(MAX_REFUSALS).unwrap();
        assert_eq!(bob.refused(Text::CODE, Refusal::Forged), limit, "{suite}");
        assert!(bob.seen.contains(&Seen::Lost(TEXT)) && bob.texts_in[&1].buffered() == 0);
        assert_eq!(bob.refused(Voice::CODE, Refusal::Forged), limit);
        assert_eq!(bob.refused(Voice::CODE, Refusal::Closed), limit);
        assert!(bob.calls[&1].opener.is_closed());
        assert!(bob.session.is_established());
        world.write(Side::Alice, 2, suite, "another flow");
        world.run();
        assert_eq!(world[Side::Bob].texts(), ["first", "another flow"]);
    }
}

#[test]
fn a_flood_on_the_control_stream_ends_the_session_and_says_why() {
    for suite in Suite::ALL {
        let mut world = World::established(Setup::with(suite));
        let now = world.around.now;
        world[Side::Alice].session.send(Message::Ringing { call: 1 }, now);
        world.run();
        let mut forged = sent(&world, Path::Stream(CONTROL));
        forged.bytes[12] += 1;
        for _ in 0..MAX_REFUSALS {
            world.forge(forged.clone());
        }
        world.run();
        assert_eq!(world[Side::Bob].closed(), Some(&Some(SessionError::TamperedControl)), "{suite}");
    }
}

/// The last thing that Alice sent on `path`.
fn sent(world: &World, path: Path) -> Unit {
    let mut sent = world.around.wire.sent().iter().rev();
    sent.find(|unit| unit.from == Side::Alice && unit.path == path).expect("something was sent").clone()
}
