//! "Get key with key IDs": the slave gets each key once, nobody else gets any.

use serde_json::json;
use tokio::task::JoinSet;
use vernam_etsi014::messages::KEYS_NOT_FOUND;

use crate::kme::doctor::{
    catalogue::{
        ALL_OR_NOTHING, DEC_GET, DEC_POST, NO_IDS, NOT_A_UUID, REPLAY, REPLAY_MANY, UNKNOWN_KEY, WRONG_MASTER,
        WRONG_SAE,
    },
    exam::{Exam, Finding, all_same, ids, path, refusal, told, unknown_id},
    report::Outcome,
    wire::{Answer, Ask, Caller, Trouble},
};

/// How many ask for the same key at once.
const RIVALS: usize = 8;

const ERASE: &str = "take a key out of the store, durably, before the answer that holds it is sent.";

pub(super) async fn run(exam: &mut Exam) {
    round_trip(exam).await;
    replay(exam).await;
    rivals(exam).await;
    wrong_sae(exam).await;
    wrong_master(exam).await;
    unknown_key(exam).await;
    all_or_nothing(exam).await;
    not_a_uuid(exam).await;
    no_ids(exam).await;
}

async fn round_trip(exam: &mut Exam) {
    let advice = "give the slave, at its own KME, the same bytes under the same key_ID.";
    let finding = match exam.some(2).await {
        Err(why) => Finding::new(Outcome::Skipped, why),
        Ok(drawn) => match exam.collect(&ids(&drawn)).await {
            Ok(collected) if all_same(&drawn, &collected) => {
                Finding::new(Outcome::Pass, "2 keys, the same on both sides")
            }
            Ok(_) => Finding::new(Outcome::Fail, "the slave got other keys than the master"),
            Err(why) => Finding::new(Outcome::Fail, why),
        },
    };
    exam.row(DEC_POST, finding, advice);
    let finding = match exam.some(1).await {
        Err(why) => Finding::new(Outcome::Skipped, why),
        Ok(drawn) => {
            let ask = by_query(exam, &drawn[0].id);
            match exam.ask_slave(&ask).await {
                Err(trouble) => Finding::new(Outcome::Fail, trouble.to_string()),
                Ok(answer) => match exam.collected(&answer) {
                    Ok(collected) if all_same(&drawn, &collected) => {
                        Finding::new(Outcome::Pass, "the same on both sides")
                    }
                    Ok(_) => Finding::new(Outcome::Fail, "the slave got another key than the master"),
                    Err(why) => Finding::new(Outcome::Fail, why),
                },
            }
        }
    };
    exam.row(DEC_GET, finding, advice);
}

fn by_query(exam: &Exam, id: &str) -> Ask {
    // A key_ID that is no UUID must not break the query.
    let id: String = id
        .bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    Ask::get(format!("{}?key_ID={id}", exam.to_master("dec_keys")))
}

/// Characters that need no escape in a query (RFC 3986, section 2.3).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

async fn replay(exam: &mut Exam) {
    let drawn = match exam.some(1).await {
        Ok(drawn) => drawn,
        Err(why) => return exam.skip(REPLAY, why),
    };
    if let Err(why) = exam.collect(&ids(&drawn)).await {
        return exam.skip(REPLAY, format!("it could not even be collected once: {why}"));
    }
    let mut findings = Vec::new();
    for ask in [exam.with_ids(&ids(&drawn)), by_query(exam, &drawn[0].id)] {
        findings.push(exam.slave_is_refused(&ask, None).await);
    }
    let granted = findings.iter().filter(|finding| finding.seen.ends_with("granted (200)")).count();
    let finding = if granted > 0 {
        Finding::new(Outcome::Fail, format!("collected once, and then {granted} times more, of 2 tries"))
    } else {
        Finding::worst(findings)
    };
    exam.row(REPLAY, finding, ERASE);
}

async fn rivals(exam: &mut Exam) {
    let drawn = match exam.some(1).await {
        Ok(drawn) => drawn,
        Err(why) => return exam.skip(REPLAY_MANY, why),
    };
    let ask = exam.with_ids(&ids(&drawn));
    let answers = at_once(&exam.slave.caller, &vec![ask.clone(); RIVALS]).await;
    let (mut got, mut seen) = (0, Vec::new());
    for answer in answers {
        match exam.noted(&ask, answer) {
            Ok(answer) if answer.status == 200 => {
                got += usize::from(exam.collected(&answer).is_ok_and(|keys| all_same(&drawn, &keys)));
            }
            Ok(answer) => seen.push(told(&answer)),
            Err(trouble) => seen.push(trouble.to_string()),
        }
    }
    if got == 1 {
        exam.pass(REPLAY_MANY, format!("1 of {RIVALS} got it"));
    } else {
        seen.dedup();
        exam.fail(REPLAY_MANY, format!("{got} of {RIVALS} got it. {}", seen.join("; ")).trim_end().to_owned(), ERASE);
    }
}

/// Sends all of `asks` at the same time, each over a connection of its own; the answers are in the same order.
pub(super) async fn at_once(caller: &Caller, asks: &[Ask]) -> Vec<Result<Answer, Trouble>> {
    let mut waiting = JoinSet::new();
    for (at, ask) in asks.iter().cloned().enumerate() {
        let caller = caller.another();
        waiting.spawn(async move { (at, caller.ask_anew(&ask).await) });
    }
    let mut answers = waiting.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// The third SAE, or the master itself, tries to collect what is meant for the slave, where the slave would. Only who is
/// served there can show anything: strangers are refused for what they are, whatever the KME does with keys.
async fn wrong_sae(exam: &mut Exam) {
    let there = &exam.slave.caller.target;
    let (who, caller, status) = match &exam.third {
        Some(third) => (third.id.to_string(), third.caller.at(there), exam.to_master("status")),
        None => ("the master itself".to_owned(), exam.master.caller.at(there), exam.to_slave("status")),
    };
    let status = Ask::get(status);
    let answer = caller.ask_anew(&status).await;
    if !exam.noted(&status, answer).is_ok_and(|answer| answer.status == 200) {
        return exam.skip(WRONG_SAE, "could not be seen: needs --third, an SAE at the slave's KME");
    }
    let drawn = match exam.some(1).await {
        Ok(drawn) => drawn,
        Err(why) => return exam.skip(WRONG_SAE, why),
    };
    let ask = exam.with_ids(&ids(&drawn));
    let tried = caller.ask_anew(&ask).await;
    let mut finding = match exam.noted(&ask, tried) {
        Ok(answer) if answer.status == 200 => Finding::new(Outcome::Fail, format!("{who} got the key")),
        Ok(answer) if answer.status == 401 => Finding::new(Outcome::Pass, format!("{who}: {}", told(&answer))),
        Ok(answer) => Finding::new(Outcome::Fail, format!("{who}: {} instead of 401", told(&answer))),
        Err(trouble) => Finding::new(Outcome::Fail, format!("{who}: {trouble}")),
    };
    let collected = exam.collect(&ids(&drawn)).await;
    if !collected.is_ok_and(|keys| all_same(&drawn, &keys)) && finding.outcome == Outcome::Pass {
        finding = Finding::new(Outcome::Fail, format!("{}, but then the slave did not get its key", finding.seen));
    }
    exam.forget(&ids(&drawn));
    let advice = "hold with each key who may collect it, by certificate; refuse all others with 401, and keep the key.";
    exam.row(WRONG_SAE, finding, advice);
}

async fn wrong_master(exam: &mut Exam) {
    let drawn = match exam.some(1).await {
        Ok(drawn) => drawn,
        Err(why) => return exam.skip(WRONG_MASTER, why),
    };
    let other = exam.third.as_ref().map_or_else(|| exam.slave.id.clone(), |third| third.id.clone());
    let ask = Ask { path: path(&other, "dec_keys"), ..exam.with_ids(&ids(&drawn)) };
    let finding = match exam.ask_slave(&ask).await {
        Ok(answer) if answer.status == 200 => {
            exam.forget(&ids(&drawn));
            Finding::new(Outcome::Differs, format!("the key was given under the name of {other}"))
        }
        Ok(answer) if matches!(answer.status, 400 | 401) => Finding::new(Outcome::Pass, told(&answer)),
        Ok(answer) => Finding::new(Outcome::Differs, format!("{} instead of 400", told(&answer))),
        Err(trouble) => Finding::new(Outcome::Fail, trouble.to_string()),
    };
    exam.row(WRONG_MASTER, finding, "look for the key among those of the master in the URL.");
}

async fn unknown_key(exam: &mut Exam) {
    let id = unknown_id();
    let mut findings = Vec::new();
    for ask in [exam.with_ids(std::slice::from_ref(&id)), by_query(exam, &id)] {
        findings.push(exam.slave_is_refused(&ask, Some(KEYS_NOT_FOUND)).await);
    }
    let advice = "answer 400 with the standard's own message: clients look for it.";
    exam.row(UNKNOWN_KEY, Finding::worst(findings), advice);
}

async fn all_or_nothing(exam: &mut Exam) {
    let drawn = match exam.some(2).await {
        Ok(drawn) => drawn,
        Err(why) => return exam.skip(ALL_OR_NOTHING, why),
    };
    let mixed = [drawn[0].id.clone(), unknown_id(), drawn[1].id.clone()];
    let ask = exam.with_ids(&mixed);
    let tried = exam.ask_slave(&ask).await;
    let finding = match tried {
        Ok(answer) if answer.status == 200 => {
            exam.forget(&ids(&drawn));
            Finding::new(Outcome::Fail, "granted (200), although one is unknown")
        }
        Ok(answer) => {
            let refused = refusal(&ask, &answer, None);
            match exam.collect(&ids(&drawn)).await {
                Ok(keys) if all_same(&drawn, &keys) => {
                    Finding { seen: format!("{}; then both good ones were there", refused.seen), ..refused }
                }
                Ok(_) | Err(_) => {
                    exam.forget(&ids(&drawn));
                    Finding::new(Outcome::Fail, "refused, but then the good ones were gone")
                }
            }
        }
        Err(trouble) => Finding::new(Outcome::Fail, trouble.to_string()),
    };
    exam.row(ALL_OR_NOTHING, finding, "look for all key_IDs first; take keys out only when all are there.");
}

async fn not_a_uuid(exam: &mut Exam) {
    let odd = "not-a-uuid".to_owned();
    let number = Ask::post(exam.to_master("dec_keys"), json!({ "key_IDs": [{ "key_ID": 17 }] }).to_string());
    let mut findings = Vec::new();
    for ask in [exam.with_ids(std::slice::from_ref(&odd)), by_query(exam, &odd), number] {
        findings.push(exam.slave_is_refused(&ask, None).await);
    }
    exam.row(NOT_A_UUID, Finding::worst(findings), "refuse with 400, as any unknown key_ID.");
}

async fn no_ids(exam: &mut Exam) {
    let path = exam.to_master("dec_keys");
    let mut findings = Vec::new();
    for ask in [Ask::post(path.clone(), "{}"), Ask::post(path.clone(), r#"{"key_IDs":[]}"#), Ask::get(path)] {
        findings.push(exam.slave_is_refused(&ask, None).await);
    }
    exam.row(NO_IDS, Finding::worst(findings), "refuse with 400: at least one key_ID is needed.");
}
