//! "Get key": both forms, sizes and numbers.

use serde_json::json;
use vernam_etsi014::messages;

use crate::kme::doctor::{
    catalogue::{
        Check, ENC_GET, ENC_GET_QUERY, ENC_NO_BODY, ENC_POST, ENC_POST_EMPTY, NUMBER_MAX, NUMBER_OVER, NUMBER_ZERO,
        SIZE_BITS, SIZE_MAX, SIZE_MIN, SIZE_OVER, SIZE_UNDER,
    },
    exam::{Exam, Finding, Limits, MAX_NUMBER, NoKey, told},
    keys::Key,
    report::Outcome,
    wire::Ask,
};

/// The largest key that is asked for, in bits: 4 MiB fit into an answer.
const MAX_BITS: u64 = 4 << 23;

/// What is assumed where there is no status: 256 bits are what most have.
const ASSUMED: Limits =
    Limits { key_size: 256, stored: u64::MAX, per_request: 1, max_size: 256, min_size: 256, max_slaves: 0 };

pub(super) async fn run(exam: &mut Exam) {
    let limits = exam.limits;
    let usual = limits.unwrap_or(ASSUMED);
    // Another size than the default one, so that a KME which passes over the parameter is seen.
    let other =
        if usual.min_size <= 128 && usual.max_size >= 128 && usual.key_size != 128 { 128 } else { usual.key_size };
    let two = usual.per_request.min(2);
    forms(exam, usual, other, two).await;
    no_body(exam, usual).await;
    let Some(limits) = limits else {
        for check in [SIZE_MIN, SIZE_MAX, SIZE_OVER, SIZE_UNDER, NUMBER_MAX, NUMBER_OVER] {
            exam.skip(check, "the status does not tell the limits");
        }
        bits(exam, usual).await;
        zero(exam).await;
        return;
    };
    sizes(exam, limits).await;
    bits(exam, usual).await;
    numbers(exam, limits).await;
    zero(exam).await;
}

async fn forms(exam: &mut Exam, usual: Limits, other: u64, two: u64) {
    let path = exam.to_slave("enc_keys");
    let advice = "answer with the number and size that were asked for, or the defaults that Status tells.";
    for (check, ask, number, bits) in [
        (ENC_GET, Ask::get(path.clone()), 1, usual.key_size),
        (ENC_GET_QUERY, Ask::get(format!("{path}?number={two}&size={other}")), two, other),
        (ENC_POST, exam.get_key(&json!({ "number": two, "size": other })), two, other),
        (ENC_POST_EMPTY, exam.get_key(&json!({})), 1, usual.key_size),
    ] {
        let drawn = exam.draw_exactly(&ask, number, bits).await;
        judge(exam, check, drawn, advice);
    }
}

fn judge(exam: &mut Exam, check: Check, drawn: Result<Vec<Key>, NoKey>, advice: &str) {
    match drawn {
        Ok(keys) => {
            let bits = keys.first().map_or(0, Key::bits);
            let keys = keys.len();
            exam.pass(check, format!("{keys} of {bits} bits"));
        }
        Err(NoKey::Short(why)) => exam.skip(check, why),
        Err(NoKey::Wrong(why)) => exam.fail(check, why, advice),
    }
}

async fn no_body(exam: &mut Exam, usual: Limits) {
    let ask = Ask::post(exam.to_slave("enc_keys"), Vec::new());
    let finding = match exam.ask_master(&ask).await {
        Ok(answer) if answer.status == 200 => match exam.drawn(&answer) {
            Ok(keys) if keys.len() == 1 && keys[0].bits() == usual.key_size => {
                Finding::new(Outcome::Pass, "one key of the default size")
            }
            Ok(keys) => Finding::new(Outcome::Fail, format!("{} keys, not one of the default size", keys.len())),
            Err(NoKey::Short(why) | NoKey::Wrong(why)) => Finding::new(Outcome::Fail, why),
        },
        Ok(answer) if answer.status == 400 => Finding::new(Outcome::Differs, told(&answer)),
        Ok(answer) if answer.status == 503 => Finding::new(Outcome::Skipped, told(&answer)),
        Ok(answer) => Finding::new(Outcome::Fail, format!("{} instead of 200 or 400", told(&answer))),
        Err(trouble) => Finding::new(Outcome::Fail, trouble.to_string()),
    };
    exam.row(ENC_NO_BODY, finding, "take a missing body as {}, as most clients and KMEs do.");
}

async fn sizes(exam: &mut Exam, limits: Limits) {
    let Limits { min_size, max_size, .. } = limits;
    let advice = "deliver every size that Status promises, in multiples of 8 bits.";
    for (check, size) in [(SIZE_MIN, min_size), (SIZE_MAX, max_size)] {
        let in_store = limits.stored.saturating_mul(limits.key_size);
        if !size.is_multiple_of(8) {
            exam.skip(check, format!("{size} is no multiple of 8"));
        } else if size > MAX_BITS {
            exam.skip(check, format!("{size} bits are more than the doctor takes at once"));
        } else if size > in_store {
            exam.skip(check, format!("{size} bits are more than the {in_store} in store"));
        } else {
            let ask = exam.get_key(&json!({ "size": size }));
            let drawn = exam.draw_exactly(&ask, 1, size).await;
            judge(exam, check, drawn, advice);
        }
    }
    let over = exam.get_key(&json!({ "size": max_size.saturating_add(8) }));
    let finding = exam.master_is_refused(&over, None).await;
    exam.row(SIZE_OVER, finding, "refuse sizes over max_key_size with 400, or raise max_key_size.");
    if min_size > 8 {
        let under = exam.get_key(&json!({ "size": (min_size - 1) / 8 * 8 }));
        let finding = exam.master_is_refused(&under, None).await;
        exam.row(SIZE_UNDER, finding, "refuse sizes under min_key_size with 400, or lower min_key_size.");
    } else {
        let zero = exam.get_key(&json!({ "size": 0 }));
        let finding = exam.master_is_refused(&zero, None).await;
        exam.row(SIZE_UNDER, finding, "refuse a size of 0 with 400: a key has at least one byte.");
    }
}

async fn bits(exam: &mut Exam, usual: Limits) {
    // Within the limits, so that nothing else can be wrong with it.
    let odd = if usual.key_size < usual.max_size { usual.key_size + 4 } else { usual.key_size.saturating_sub(4) };
    if odd < usual.min_size || odd % 8 == 0 {
        exam.skip(SIZE_BITS, "the limits leave no size that is no multiple of 8");
        return;
    }
    let ask = exam.get_key(&json!({ "size": odd }));
    let finding = exam.master_is_refused(&ask, Some(messages::SIZE_MULTIPLE_OF_8)).await;
    exam.row(SIZE_BITS, finding, "answer 400 with the standard's own message: clients look for it.");
}

async fn numbers(exam: &mut Exam, limits: Limits) {
    let number = limits.per_request.min(MAX_NUMBER);
    // Large keys where there are plenty, small ones where there are few.
    let size = if limits.stored / 2 >= number { limits.key_size } else { limits.min_size.next_multiple_of(8) };
    let ask = exam.get_key(&json!({ "number": number, "size": size }));
    let drawn = exam.draw_exactly(&ask, number, size).await;
    judge(exam, NUMBER_MAX, drawn, "deliver as many keys at once as Status promises, or lower max_key_per_request.");
    let over = exam.get_key(&json!({ "number": limits.per_request.saturating_add(1), "size": size }));
    let finding = exam.master_is_refused(&over, None).await;
    exam.row(NUMBER_OVER, finding, "refuse more keys than max_key_per_request with 400.");
}

async fn zero(exam: &mut Exam) {
    let ask = exam.get_key(&json!({ "number": 0 }));
    let finding = exam.master_is_refused(&ask, None).await;
    let outcome = if finding.outcome == Outcome::Fail { Outcome::Differs } else { finding.outcome };
    exam.row(NUMBER_ZERO, Finding { outcome, ..finding }, "refuse a number of 0 with 400.");
}
