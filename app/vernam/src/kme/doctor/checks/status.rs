//! "Get status": the limits, which the other checks go by.

use std::time::Duration;

use serde_json::Value;

use crate::kme::doctor::{
    catalogue::{STATUS_FIELDS, STATUS_LATENCY, STATUS_LIMITS, STATUS_NAMES},
    exam::{Exam, Limits, told},
    wire::{Ask, shown},
};

const STRINGS: [&str; 4] = ["source_KME_ID", "target_KME_ID", "master_SAE_ID", "slave_SAE_ID"];
const NUMBERS: [&str; 7] = [
    "key_size",
    "stored_key_count",
    "max_key_count",
    "max_key_per_request",
    "max_key_size",
    "min_key_size",
    "max_SAE_ID_count",
];

/// How often the status is asked for to see how long it takes.
const SAMPLES: usize = 100;

pub(super) async fn run(exam: &mut Exam) {
    let ask = Ask::get(exam.to_slave("status"));
    let status = match exam.ask_master(&ask).await {
        Ok(answer) if answer.status == 200 => serde_json::from_slice::<Value>(answer.body.as_ref())
            .map_err(|error| format!("it is no JSON (line {}, column {})", error.line(), error.column())),
        Ok(answer) => Err(told(&answer)),
        Err(trouble) => Err(trouble.to_string()),
    };
    let status = match status {
        Ok(status) => status,
        Err(why) => {
            let advice = "answer Get status to the master with 200; until then most else cannot be seen.";
            exam.fail(STATUS_FIELDS, why, advice);
            for check in [STATUS_LIMITS, STATUS_NAMES, STATUS_LATENCY] {
                exam.skip(check, "there is no status");
            }
            return;
        }
    };
    fields(exam, &status);
    limits(exam, &status);
    names(exam, &status);
    latency(exam, &ask).await;
}

fn fields(exam: &mut Exam, status: &Value) {
    let mut wrong: Vec<String> = Vec::new();
    for (name, kind) in
        STRINGS.iter().map(|name| (name, "a string")).chain(NUMBERS.iter().map(|name| (name, "an integer")))
    {
        match status.get(name) {
            None => wrong.push(format!("{name} is missing")),
            Some(Value::String(_)) if kind == "a string" => {}
            Some(Value::Number(number)) if kind == "an integer" && number.is_u64() => {}
            Some(other) => wrong.push(format!("{name} is not {kind} but {}", kind_of(other))),
        }
    }
    if status.get("status_extension").is_some_and(|extension| !extension.is_object() && !extension.is_null()) {
        wrong.push("status_extension is no object".to_owned());
    }
    if wrong.is_empty() {
        exam.pass(STATUS_FIELDS, "all 11 are there");
    } else {
        exam.fail(STATUS_FIELDS, wrong.join("; "), "give every mandatory field its type; clients refuse the rest.");
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "another number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn limits(exam: &mut Exam, status: &Value) {
    let number = |name: &str| status.get(name).and_then(Value::as_u64);
    let all: Option<Vec<u64>> = NUMBERS.iter().map(|name| number(name)).collect();
    let Some(&[key_size, stored, most, per_request, max_size, min_size, max_slaves]) = all.as_deref() else {
        exam.skip(STATUS_LIMITS, "some of them are no integers");
        return;
    };
    exam.limits = Some(Limits { key_size, stored, per_request, max_size, min_size, max_slaves });
    let mut wrong = Vec::new();
    let mut claim = |holds: bool, text: String| {
        if !holds {
            wrong.push(text);
        }
    };
    claim(
        min_size <= key_size && key_size <= max_size,
        format!("key_size {key_size} is not between min_key_size {min_size} and max_key_size {max_size}"),
    );
    claim(min_size > 0, "min_key_size is 0".to_owned());
    claim(key_size.is_multiple_of(8), format!("key_size {key_size} is no multiple of 8"));
    claim(stored <= most, format!("stored_key_count {stored} is over max_key_count {most}"));
    claim(per_request > 0, "max_key_per_request is 0".to_owned());
    if wrong.is_empty() {
        let seen = format!(
            "keys of {min_size} to {max_size} bits, {key_size} by default; {per_request} in one request; \
             {stored} of {most} in store; {max_slaves} additional slaves"
        );
        exam.pass(STATUS_LIMITS, seen);
    } else {
        exam.fail(STATUS_LIMITS, wrong.join("; "), "make the limits agree: clients size their requests by them.");
    }
}

fn names(exam: &mut Exam, status: &Value) {
    let name = |field: &str| status.get(field).and_then(Value::as_str).map(shown).unwrap_or_default();
    let (master, slave) = (name("master_SAE_ID"), name("slave_SAE_ID"));
    let seen = format!("master {master}, slave {slave}, KMEs {} and {}", name("source_KME_ID"), name("target_KME_ID"));
    if master == exam.master.id.as_str() && slave == exam.slave.id.as_str() {
        exam.pass(STATUS_NAMES, seen);
    } else {
        let expected = format!("{seen}; expected master {} and slave {}", exam.master.id, exam.slave.id);
        let advice = "if the KME knows these SAEs by other names, give them with --master-id and --slave-id; otherwise \
                      name the caller by its certificate.";
        exam.fail(STATUS_NAMES, expected, advice);
    }
}

async fn latency(exam: &mut Exam, ask: &Ask) {
    let mut took = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        match exam.ask_master(ask).await {
            Ok(answer) => took.push(answer.took),
            Err(trouble) => {
                exam.fail(STATUS_LATENCY, trouble.to_string(), "answer every request.");
                return;
            }
        }
    }
    took.sort_unstable();
    let milliseconds = |at: usize| took.get(at).map_or(0.0, Duration::as_secs_f64) * 1000.0;
    let (half, most) = (milliseconds(SAMPLES / 2), milliseconds(SAMPLES * 99 / 100));
    exam.pass(STATUS_LATENCY, format!("p50 {half:.1} ms, p99 {most:.1} ms, of {SAMPLES} over one connection"));
}
