//! What holds for all keys and all answers of the examination; last of all, nothing is left behind.

use crate::kme::doctor::{
    catalogue::{
        CODES, CONTENT_TYPE, Check, ERRORS_JSON, KEY_BASE64, KEY_ID_DERIVED, KEY_ID_ONCE, KEY_ID_RANDOM, KEY_UUID,
        KEYS_DIFFER, KEYS_EVEN, LEFT_OVER,
    },
    exam::{Exam, Faults, MAX_NUMBER},
    keys::MIN_BITS_TO_COUNT,
    wire::shown,
};

/// How far from even the bits may be, in standard deviations: chance exceeds it once in 500 million.
const MAX_DEVIATION: f64 = 6.0;
/// The version of random UUIDs (RFC 9562, section 5.4).
const RANDOM: usize = 4;

pub(super) async fn run(exam: &mut Exam) {
    left_over(exam).await;
    keys(exam);
    let errors = exam.answers.errors;
    let all = exam.answers.all;
    let faults = std::mem::take(&mut exam.answers.not_json);
    let advice = "answer every error with a JSON object that has a message: real clients fail on anything else.";
    answers(exam, ERRORS_JSON, &faults, &format!("{errors} of {errors}"), advice);
    let faults = std::mem::take(&mut exam.answers.undeclared);
    answers(exam, CONTENT_TYPE, &faults, &format!("{all} of {all}"), "set Content-Type: application/json.");
    let faults = std::mem::take(&mut exam.answers.codes);
    answers(exam, CODES, &faults, &format!("{all} of {all}"), "use 400, 401 and 503 alone for refusals.");
}

fn answers(exam: &mut Exam, check: Check, faults: &Faults, seen: &str, advice: &str) {
    if faults.count == 0 {
        exam.pass(check, seen);
    } else {
        let seen = format!("not in {} answers, such as {}", faults.count, faults.examples.join("; "));
        exam.fail(check, seen, advice);
    }
}

/// Collects what is still waiting for the slave, in requests as large as the KME allows.
async fn left_over(exam: &mut Exam) {
    let most = exam.limits.map_or(1, |limits| limits.per_request.clamp(1, MAX_NUMBER));
    let most = usize::try_from(most).unwrap_or(1);
    let loose = exam.loose.clone();
    let (mut lost, mut why) = (0, String::new());
    for ids in loose.chunks(most) {
        if let Err(reason) = exam.collect(ids).await {
            lost += ids.len();
            why = reason;
        }
    }
    if lost == 0 {
        exam.pass(LEFT_OVER, format!("all of {} keys", exam.hoard.keys));
    } else {
        let seen = format!("{lost} of {} keys could not be: {why}", exam.hoard.keys);
        exam.fail(LEFT_OVER, seen, "deliver every key to the slave that was named; look for stores that drift apart.");
    }
}

fn keys(exam: &mut Exam) {
    if exam.hoard.keys == 0 {
        for check in [KEY_UUID, KEY_ID_ONCE, KEY_ID_RANDOM, KEY_ID_DERIVED, KEY_BASE64, KEYS_DIFFER, KEYS_EVEN] {
            exam.skip(check, "no key could be had");
        }
        return;
    }
    let all = format!("{} of {}", exam.hoard.keys, exam.hoard.keys);
    match exam.hoard.not_uuid.first().map(|id| shown(id)) {
        None => exam.pass(KEY_UUID, &all),
        Some(first) => {
            let seen = format!("not in {} keys, such as \u{201c}{first}\u{201d}", exam.hoard.not_uuid.len());
            exam.fail(KEY_UUID, seen, "name keys by UUIDs of version 4.");
        }
    }
    match exam.hoard.id_twice.first().map(|id| shown(id)) {
        None => exam.pass(KEY_ID_ONCE, &all),
        Some(first) => {
            let seen = format!("{} came again, such as {first}", exam.hoard.id_twice.len());
            exam.fail(KEY_ID_ONCE, seen, "give every key a name of its own, and every key to one master.");
        }
    }
    random(exam);
    match exam.hoard.derived.first().map(|(id, how)| (shown(id), *how)) {
        None => exam.pass(KEY_ID_DERIVED, "no part of the key, none of its usual hashes"),
        Some((id, how)) => {
            let seen = format!("{} are {how}, such as {id}", exam.hoard.derived.len());
            exam.fail(KEY_ID_DERIVED, seen, "name keys by random UUIDs; what was drawn until now is weakened.");
        }
    }
    if exam.hoard.loose_base64 {
        exam.fail(KEY_BASE64, "some have no padding, or stray bits", "encode by RFC 4648, section 4, with padding.");
    } else {
        exam.pass(KEY_BASE64, &all);
    }
    match exam.hoard.key_twice {
        0 => exam.pass(KEYS_DIFFER, format!("{} keys of 64 bits and more", exam.hoard.compared())),
        again => exam.fail(
            KEYS_DIFFER,
            format!("{again} of {} were given before, under another key_ID or the same", exam.hoard.compared()),
            "take a key out of the store before it is delivered.",
        ),
    }
    even(exam);
}

fn random(exam: &mut Exam) {
    let versions = exam.hoard.versions();
    let told: Vec<String> = versions
        .iter()
        .map(|(version, count)| match version {
            Some(version) => format!("{count} of version {version}"),
            None => format!("{count} of another variant"),
        })
        .collect();
    if versions.is_empty() {
        exam.skip(KEY_ID_RANDOM, "there are no UUIDs");
    } else if versions.iter().all(|(version, _)| *version == Some(RANDOM)) {
        exam.pass(KEY_ID_RANDOM, told.join(", "));
    } else {
        exam.differs(KEY_ID_RANDOM, told.join(", "), "name keys by UUIDs of version 4.");
    }
}

fn even(exam: &mut Exam) {
    let bits = exam.hoard.bits;
    if bits < MIN_BITS_TO_COUNT {
        return exam.skip(KEYS_EVEN, format!("{bits} bits say nothing"));
    }
    let [ones, changes] = exam.hoard.unevenness();
    let seen = format!("over {bits} bits: ones {ones:+.1}, changes {changes:+.1} standard deviations from half");
    if ones.abs() > MAX_DEVIATION || changes.abs() > MAX_DEVIATION {
        exam.fail(KEYS_EVEN, seen, "do not use these keys; look at where they come from.");
    } else {
        exam.pass(KEYS_EVEN, seen);
    }
}
