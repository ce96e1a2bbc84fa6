//! Many at once, silent connections, and the end of the stock.

use std::collections::HashSet;

use serde_json::json;

use super::collecting::at_once;
use crate::kme::doctor::{
    catalogue::{BOTH_WAYS, CONCURRENT, Check, EMPTY, IDLE, KEEP_ALIVE},
    exam::{Exam, Finding, MAX_NUMBER, NoKey, ids, message, path, told},
    keys::Key,
    report::Outcome,
    wire::{Ask, Trouble},
};

/// How many ask for keys at once, in each direction.
const AT_ONCE: usize = 16;
/// How many connections stay silent, before the TLS handshake and after it.
const SILENT: usize = 4;
/// How many requests go over one connection.
const KEPT: usize = 3;
/// The most requests until the stock must be empty.
const MAX_DRAINS: usize = 5_000;

const ONE_OWNER: &str = "cut keys from the pool under one lock, or give each KME of a pair its own part of the pool.";

pub(super) async fn run(exam: &mut Exam, drain: bool) {
    concurrent(exam, CONCURRENT, false).await;
    concurrent(exam, BOTH_WAYS, true).await;
    keep_alive(exam).await;
    idle(exam).await;
    if drain {
        empty(exam).await;
    } else {
        exam.skip(EMPTY, "takes all key; ask for it with --drain");
    }
}

/// The keys of one direction, and what went wrong with it.
struct Draws {
    keys: Vec<Key>,
    short: Vec<String>,
    wrong: Vec<String>,
}

async fn concurrent(exam: &mut Exam, check: Check, both_ways: bool) {
    let forth = vec![exam.get_key(&json!({ "number": 1 })); AT_ONCE];
    let back = Ask::post(exam.to_master("enc_keys"), r#"{"number":1}"#);
    let back = vec![back; if both_ways { AT_ONCE } else { 0 }];
    let repeated = exam.hoard.key_twice + exam.hoard.id_twice.len();
    let (there, here) = tokio::join!(at_once(&exam.master.caller, &forth), at_once(&exam.slave.caller, &back));
    let there = draws(exam, &forth[0], there);
    exam.loose.extend(ids(&there.keys));
    let here = match back.first() {
        Some(ask) => draws(exam, ask, here),
        None => Draws { keys: Vec::new(), short: Vec::new(), wrong: Vec::new() },
    };
    if exam.hoard.key_twice + exam.hoard.id_twice.len() > repeated {
        exam.fail(check, "a key or key_ID was given twice", ONE_OWNER);
        collect_back(exam, &here.keys).await;
        return;
    }
    let mut wrong: Vec<String> = there.wrong;
    if both_ways && here.keys.is_empty() {
        let why = here.wrong.first().or(here.short.first()).cloned().unwrap_or_default();
        exam.skip(check, format!("the slave cannot be a master here: {why}"));
        return;
    }
    wrong.extend(here.wrong);
    wrong.extend(collect_all(exam, &there.keys).await);
    wrong.extend(collect_back(exam, &here.keys).await);
    wrong.dedup();
    let got = there.keys.len() + here.keys.len();
    let short = there.short.len() + here.short.len();
    if !wrong.is_empty() {
        wrong.truncate(3);
        exam.fail(check, wrong.join("; "), ONE_OWNER);
    } else if got == 0 {
        exam.skip(check, there.short.first().cloned().unwrap_or_default());
    } else if short > 0 {
        let seen = format!("{got} keys, each once and the same on both sides; {short} refused with 503");
        exam.differs(check, seen, "let requests wait for each other for a moment, instead of refusing them.");
    } else {
        exam.pass(check, format!("{got} keys, each once and the same on both sides"));
    }
}

fn draws(exam: &mut Exam, ask: &Ask, answers: Vec<Result<crate::kme::doctor::wire::Answer, Trouble>>) -> Draws {
    let mut draws = Draws { keys: Vec::new(), short: Vec::new(), wrong: Vec::new() };
    for answer in answers {
        match exam.noted(ask, answer) {
            Ok(answer) => match exam.fresh(&answer) {
                Ok(keys) => draws.keys.extend(keys),
                Err(NoKey::Short(why)) => draws.short.push(why),
                Err(NoKey::Wrong(why)) => draws.wrong.push(why),
            },
            Err(trouble) => draws.wrong.push(trouble.to_string()),
        }
    }
    draws
}

/// The slave collects all at once, one request each; what went wrong.
async fn collect_all(exam: &mut Exam, drawn: &[Key]) -> Vec<String> {
    let asks: Vec<Ask> = drawn.iter().map(|key| exam.with_ids(std::slice::from_ref(&key.id))).collect();
    let answers = at_once(&exam.slave.caller, &asks).await;
    let mut wrong = Vec::new();
    for ((key, ask), answer) in drawn.iter().zip(&asks).zip(answers) {
        match exam.noted(ask, answer) {
            Ok(answer) => match exam.collected(&answer) {
                Ok(keys) if keys.len() == 1 && keys[0].is(key) => {}
                Ok(_) => wrong.push("the slave got another key than the master".to_owned()),
                Err(why) => wrong.push(format!("the slave could not collect: {why}")),
            },
            Err(trouble) => wrong.push(format!("the slave could not collect: {trouble}")),
        }
    }
    wrong
}

/// The master collects what the slave drew.
async fn collect_back(exam: &mut Exam, drawn: &[Key]) -> Vec<String> {
    let mut wrong = Vec::new();
    for key in drawn {
        let body = json!({ "key_IDs": [{ "key_ID": key.id }] }).to_string();
        let ask = Ask::post(path(&exam.slave.id, "dec_keys"), body);
        match exam.ask_master(&ask).await {
            Ok(answer) => match exam.collected(&answer) {
                Ok(keys) if keys.len() == 1 && keys[0].is(key) => {}
                Ok(_) => wrong.push("the master got another key than the slave".to_owned()),
                Err(why) => wrong.push(format!("the master could not collect the slave's key: {why}")),
            },
            Err(trouble) => wrong.push(trouble.to_string()),
        }
    }
    wrong
}

async fn keep_alive(exam: &mut Exam) {
    let ask = Ask::get(exam.to_slave("status"));
    let advice = "keep connections open between requests: a TLS handshake for every key is slow.";
    let mut line = match exam.master.caller.line().await {
        Ok(line) => line,
        Err(trouble) => return exam.fail(KEEP_ALIVE, trouble.to_string(), advice),
    };
    for done in 0..KEPT {
        match exam.master.caller.ask_over(&mut line, &ask).await {
            Ok(answer) if answer.closed && done + 1 < KEPT => {
                return exam.differs(KEEP_ALIVE, format!("closed after request {}", done + 1), advice);
            }
            Ok(_) => {}
            Err(trouble) if done == 0 => return exam.fail(KEEP_ALIVE, trouble.to_string(), advice),
            Err(_closed) => return exam.differs(KEEP_ALIVE, format!("closed after request {done}"), advice),
        }
    }
    exam.pass(KEEP_ALIVE, format!("{KEPT} requests over one connection"));
}

async fn idle(exam: &mut Exam) {
    let advice = "accept connections, and shake hands, independently of each other, with a limit of time and number.";
    let caller = &exam.master.caller;
    let (mut tcp, mut tls) = (Vec::new(), Vec::new());
    for _ in 0..SILENT {
        match caller.target.tcp(caller.limit()).await {
            Ok(silent) => tcp.push(silent),
            Err(trouble) => return exam.fail(IDLE, trouble.to_string(), advice),
        }
        match caller.silent().await {
            Ok(silent) => tls.push(silent),
            Err(trouble) => {
                let seen = format!("with {} silent connections open: {trouble}", tcp.len() + tls.len());
                return exam.fail(IDLE, seen, advice);
            }
        }
    }
    let held = tcp.len() + tls.len();
    let finding = match caller.ask_anew(&Ask::get(exam.to_slave("status"))).await {
        Ok(answer) if answer.status == 200 => {
            Finding::new(Outcome::Pass, format!("answered while {held} silent connections were open"))
        }
        Ok(answer) => {
            Finding::new(Outcome::Fail, format!("{} while {held} silent connections were open", told(&answer)))
        }
        Err(trouble) => Finding::new(Outcome::Fail, format!("with {held} silent connections open: {trouble}")),
    };
    exam.row(IDLE, finding, advice);
}

/// Takes all there is, and collects it, to see how the end is told.
async fn empty(exam: &mut Exam) {
    let mut number = exam.limits.map_or(1, |limits| limits.per_request.min(MAX_NUMBER)).max(1);
    for _ in 0..MAX_DRAINS {
        let ask = exam.get_key(&json!({ "number": number }));
        let answer = match exam.ask_master(&ask).await {
            Ok(answer) => answer,
            Err(trouble) => return exam.fail(EMPTY, trouble.to_string(), "answer every request."),
        };
        if answer.status == 200 {
            let Ok(keys) = exam.drawn(&answer) else { break };
            let distinct: HashSet<&str> = keys.iter().map(|key| key.id.as_str()).collect();
            if distinct.is_empty() {
                return exam.fail(EMPTY, "200 without keys", "answer 503 when there is not enough key.");
            }
            // What cannot be collected stays on the list, and is told at the end.
            let _told_at_the_end = exam.collect(&ids(&keys)).await;
        } else if answer.status == 503 && number > 1 {
            number /= 2;
        } else {
            let advice = "answer 503 with a JSON error and the header Retry-After when there is not enough key.";
            let finding = match (&answer.retry_after, message(&answer)) {
                _ if answer.status != 503 => Finding::new(Outcome::Fail, format!("{} instead of 503", told(&answer))),
                (_, Err(_)) => Finding::new(Outcome::Fail, told(&answer)),
                (Some(after), Ok(_)) => Finding::new(Outcome::Pass, format!("{}, Retry-After: {after}", told(&answer))),
                (None, Ok(_)) => Finding::new(Outcome::Differs, format!("{}, without Retry-After", told(&answer))),
            };
            return exam.row(EMPTY, finding, advice);
        }
    }
    exam.skip(EMPTY, format!("not empty after {MAX_DRAINS} requests: key comes in as fast"));
}
