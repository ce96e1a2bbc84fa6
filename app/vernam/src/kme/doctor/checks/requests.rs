//! Requests that are odd, or wrong.

use hyper::Method;
use serde_json::json;
use vernam_etsi014::{SaeId, messages};

use crate::kme::doctor::{
    catalogue::{
        BROKEN_JSON, EXT_MANDATORY, EXT_OPTIONAL, MULTICAST, MULTICAST_EMPTY, MULTICAST_OVER, NO_SUCH_METHOD,
        NO_SUCH_PATH, UNKNOWN_FIELD, UNKNOWN_SLAVE, WRONG_TYPE,
    },
    exam::{Exam, Finding, all_same, ids, is_json, message, path, refusal, told},
    report::Outcome,
    wire::{Ask, Trouble},
};

/// A name that no SAE of a network is likely to have.
const NOBODY: &str = "vernam-doctor-nobody";
/// The most additional slaves that are made up to exceed the limit.
const MAX_MADE_UP: u64 = 1_000;

pub(super) async fn run(exam: &mut Exam) {
    unknown_slave(exam).await;
    let path = exam.to_slave("enc_keys");
    let bodies = ["{", "[1", "number=1", "\u{0}", r#"{"number":1}}"#];
    let asks: Vec<Ask> = bodies.iter().map(|body| Ask::post(path.clone(), *body)).collect();
    all_refused(exam, &asks, BROKEN_JSON, "refuse what cannot be parsed with 400.").await;
    let bodies = [
        r#"{"number":"1"}"#,
        r#"{"size":"256"}"#,
        r#"{"number":1.5}"#,
        r#"{"number":-1}"#,
        r#"{"additional_slave_SAE_IDs":"x"}"#,
        r#"{"extension_mandatory":"x"}"#,
        "[]",
    ];
    let asks: Vec<Ask> = bodies.iter().map(|body| Ask::post(path.clone(), *body)).collect();
    all_refused(exam, &asks, WRONG_TYPE, "check types, and refuse wrong ones with 400.").await;
    unknown_field(exam).await;
    extensions(exam).await;
    multicast(exam).await;
    empty_list(exam).await;
    outside(exam).await;
}

async fn all_refused(exam: &mut Exam, asks: &[Ask], check: crate::kme::doctor::catalogue::Check, advice: &str) {
    let mut findings = Vec::new();
    for ask in asks {
        findings.push(exam.master_is_refused(ask, None).await);
    }
    let mut finding = Finding::worst(findings);
    if finding.outcome == Outcome::Pass {
        finding.seen = format!("{} of {} refused with 400", asks.len(), asks.len());
    }
    exam.row(check, finding, advice);
}

async fn unknown_slave(exam: &mut Exam) {
    let Ok(nobody) = SaeId::new(NOBODY) else { return };
    let mut findings = Vec::new();
    for ask in [Ask::get(path(&nobody, "status")), Ask::post(path(&nobody, "enc_keys"), "{}")] {
        let finding = match exam.ask_master(&ask).await {
            Ok(answer) if answer.status == 401 => {
                Finding::new(Outcome::Differs, format!("{ask}: {} instead of 400", told(&answer)))
            }
            Ok(answer) => refusal(&ask, &answer, None),
            Err(trouble) => Finding::new(Outcome::Fail, format!("{ask}: {trouble}")),
        };
        findings.push(finding);
    }
    exam.row(UNKNOWN_SLAVE, Finding::worst(findings), "answer 400 with a message that names the unknown SAE.");
}

/// Asks for one key in an odd way that should work.
async fn granted(exam: &mut Exam, ask: &Ask, refused: Outcome) -> Finding {
    match exam.ask_master(ask).await {
        Ok(answer) if answer.status == 200 => match exam.drawn(&answer) {
            Ok(keys) if keys.len() == 1 => Finding::new(Outcome::Pass, "one key"),
            Ok(keys) => Finding::new(Outcome::Fail, format!("{} keys instead of 1", keys.len())),
            Err(_) => Finding::new(Outcome::Fail, "200 without a key container"),
        },
        Ok(answer) if answer.status == 503 => Finding::new(Outcome::Skipped, told(&answer)),
        Ok(answer) if answer.status == 400 => Finding::new(refused, told(&answer)),
        Ok(answer) => Finding::new(Outcome::Fail, told(&answer)),
        Err(trouble) => Finding::new(Outcome::Fail, trouble.to_string()),
    }
}

async fn unknown_field(exam: &mut Exam) {
    let ask =
        exam.get_key(&json!({ "number": 1, "additional_target_sae_ids": [], "vernam_doctor": { "x": [1, null] } }));
    let finding = granted(exam, &ask, Outcome::Differs).await;
    exam.row(
        UNKNOWN_FIELD,
        finding,
        "pass over fields that you do not know; a real client sends additional_target_sae_ids.",
    );
}

async fn extensions(exam: &mut Exam) {
    let mandatory = exam.get_key(&json!({ "extension_mandatory": [{ "vernam_doctor_unknown": 1 }] }));
    let finding = exam.master_is_refused(&mandatory, Some(messages::EXTENSION_UNSUPPORTED)).await;
    let advice = "refuse mandatory extensions that you do not know with 400 and the standard's own message: the client \
                  relies on them.";
    exam.row(EXT_MANDATORY, finding, advice);
    let optional = exam.get_key(&json!({ "extension_optional": [{ "vernam_doctor_unknown": 1 }] }));
    let mut finding = granted(exam, &optional, Outcome::Fail).await;
    // The standard has words for a refusal too, so that one in these words is no fault.
    if finding.outcome == Outcome::Fail && finding.seen.contains(messages::EXTENSION_OPTIONAL_UNHANDLED) {
        finding.outcome = Outcome::Differs;
    }
    exam.row(EXT_OPTIONAL, finding, "pass over optional extensions that you do not know.");
}

async fn multicast(exam: &mut Exam) {
    let Some(limits) = exam.limits else {
        exam.skip(MULTICAST, "the status does not tell max_SAE_ID_count");
        return exam.skip(MULTICAST_OVER, "the status does not tell max_SAE_ID_count");
    };
    let somebody = exam.third.as_ref().map_or_else(|| NOBODY.to_owned(), |third| third.id.to_string());
    let ask = exam.get_key(&json!({ "additional_slave_SAE_IDs": [somebody] }));
    if limits.max_slaves == 0 {
        let finding = exam.master_is_refused(&ask, None).await;
        exam.row(MULTICAST, finding, "refuse additional slaves with 400, or tell how many are possible.");
        return exam.skip(MULTICAST_OVER, "max_SAE_ID_count is 0, see multicast");
    }
    let finding = if exam.third.is_some() {
        to_both(exam, &ask).await
    } else {
        Finding::new(Outcome::Skipped, "needs a third SAE (--third)")
    };
    exam.row(MULTICAST, finding, "give all slaves the same key under the same key_ID, each once.");
    if limits.max_slaves > MAX_MADE_UP {
        let why = format!("max_SAE_ID_count is {}: the doctor makes up no more than {MAX_MADE_UP}", limits.max_slaves);
        return exam.skip(MULTICAST_OVER, why);
    }
    let many: Vec<String> = (0..=limits.max_slaves).map(|n| format!("{NOBODY}-{n}")).collect();
    let over = exam.get_key(&json!({ "additional_slave_SAE_IDs": many }));
    let finding = exam.master_is_refused(&over, None).await;
    exam.row(MULTICAST_OVER, finding, "refuse more additional slaves than max_SAE_ID_count with 400.");
}

/// Both slaves must get what the master got.
async fn to_both(exam: &mut Exam, ask: &Ask) -> Finding {
    let answer = match exam.ask_master(ask).await {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) if answer.status == 503 => return Finding::new(Outcome::Skipped, told(&answer)),
        Ok(answer) => return Finding::new(Outcome::Fail, told(&answer)),
        Err(trouble) => return Finding::new(Outcome::Fail, trouble.to_string()),
    };
    let Ok(drawn) = exam.drawn(&answer) else { return Finding::new(Outcome::Fail, "200 without a key container") };
    let wanted = exam.with_ids(&ids(&drawn));
    let theirs = match &exam.third {
        Some(third) => third.caller.ask(&wanted).await,
        None => return Finding::new(Outcome::Skipped, "needs a third SAE (--third)"),
    };
    let loose = exam.loose.clone();
    let theirs = match exam.noted(&wanted, theirs) {
        Ok(answer) => exam.collected(&answer),
        Err(trouble) => Err(trouble.to_string()),
    };
    exam.loose = loose;
    let ours = exam.collect(&ids(&drawn)).await;
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) if all_same(&drawn, &ours) && all_same(&drawn, &theirs) => {
            Finding::new(Outcome::Pass, "the master and both slaves got the same key")
        }
        (Ok(_), Ok(_)) => Finding::new(Outcome::Fail, "the slaves did not get the master's key"),
        (Err(why), _) => Finding::new(Outcome::Fail, format!("the slave got none: {why}")),
        (_, Err(why)) => Finding::new(Outcome::Fail, format!("the additional slave got none: {why}")),
    }
}

async fn empty_list(exam: &mut Exam) {
    let ask = exam.get_key(&json!({ "additional_slave_SAE_IDs": [] }));
    let finding = granted(exam, &ask, Outcome::Differs).await;
    exam.row(MULTICAST_EMPTY, finding, "take an empty list as none: real clients send one.");
}

/// Paths and methods that the standard does not have.
async fn outside(exam: &mut Exam) {
    let nowhere = exam.to_slave("no_such_thing");
    let put = Ask { method: Method::PUT, path: exam.to_slave("enc_keys"), body: Some(b"{}".to_vec()) };
    for (check, ask, expected) in [(NO_SUCH_PATH, Ask::get(nowhere), 404), (NO_SUCH_METHOD, put, 405)] {
        // Not noted with the others: the standard does not speak of these.
        let finding = match exam.master.caller.ask(&ask).await {
            Ok(answer) if answer.status == 200 => Finding::new(Outcome::Differs, "200"),
            Ok(answer) if answer.status != expected => {
                Finding::new(Outcome::Differs, format!("{} instead of {expected}", told(&answer)))
            }
            Ok(answer) if !is_json(&answer) || message(&answer).is_err() => {
                Finding::new(Outcome::Differs, format!("{}: not as the standard's errors are", told(&answer)))
            }
            Ok(answer) if expected == 405 && !answer.allow => {
                Finding::new(Outcome::Differs, format!("{}, without the header Allow", told(&answer)))
            }
            Ok(answer) => Finding::new(Outcome::Pass, told(&answer)),
            Err(Trouble::Late) => Finding::new(Outcome::Fail, "no answer in time"),
            Err(trouble) => Finding::new(Outcome::Differs, trouble.to_string()),
        };
        exam.row(check, finding, &format!("answer {expected} with a JSON error, as all other errors are."));
    }
}
