//! The examination as it goes: who asks, what was drawn and not yet collected, what was found.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use vernam_etsi014::SaeId;
use vernam_key::KeyId;

use super::{
    catalogue::Check,
    keys::{self, Hoard, Key},
    report::{Asker, Outcome, Report, Row},
    wire::{Answer, Ask, Caller, Trouble, shown},
};

/// How often a draw is tried again where the KME asks for a little patience.
const MAX_TRIES: usize = 3;
/// The longest `Retry-After` that is waited for.
const MAX_PATIENCE: Duration = Duration::from_secs(3);
/// The most examples that are kept of what is wrong with answers.
const MAX_EXAMPLES: usize = 3;
/// The most keys of one request, whatever the KME would grant.
pub(super) const MAX_NUMBER: u64 = 128;

/// One SAE that asks.
pub(super) struct Party {
    pub(super) role: &'static str,
    pub(super) id: SaeId,
    pub(super) caller: Caller,
}

impl Party {
    fn asker(&self) -> Asker {
        Asker { role: self.role, id: self.id.to_string(), url: self.caller.target.url() }
    }
}

/// The limits that Status tells, as far as they are numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) key_size: u64,
    pub(super) stored: u64,
    pub(super) per_request: u64,
    pub(super) max_size: u64,
    pub(super) min_size: u64,
    pub(super) max_slaves: u64,
}

/// What was wrong with answers, all in all.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) count: usize,
    pub(super) examples: Vec<String>,
}

impl Faults {
    fn note(&mut self, ask: &Ask, what: &str) {
        self.count += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(format!("{ask}: {what}"));
        }
    }
}

/// All answers so far.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) all: usize,
    pub(super) errors: usize,
    pub(super) not_json: Faults,
    pub(super) undeclared: Faults,
    pub(super) codes: Faults,
}

/// Why keys could not be had.
pub(super) enum NoKey {
    /// Not enough in store, or not now (503).
    Short(String),
    /// Anything else.
    Wrong(String),
}

/// What one answer, or several together, come to.
pub(super) struct Finding {
    pub(super) outcome: Outcome,
    pub(super) seen: String,
}

impl Finding {
    pub(super) fn new(outcome: Outcome, seen: impl Into<String>) -> Self {
        Self { outcome, seen: seen.into() }
    }

    /// All as one: the worst of them counts, and only those as bad as it are told.
    pub(super) fn worst(all: Vec<Self>) -> Self {
        let weight = |outcome| match outcome {
            Outcome::Fail => 3,
            Outcome::Differs => 2,
            Outcome::Skipped => 1,
            Outcome::Pass => 0,
        };
        let worst = all.iter().map(|one| one.outcome).max_by_key(|outcome| weight(*outcome));
        let Some(worst) = worst else { return Self::new(Outcome::Skipped, "nothing was asked") };
        let mut seen: Vec<String> = all.into_iter().filter(|one| one.outcome == worst).map(|one| one.seen).collect();
        seen.dedup();
        Self { outcome: worst, seen: seen.join("; ") }
    }
}

/// The examination.
pub(super) struct Exam {
    pub(super) master: Party,
    pub(super) slave: Party,
    pub(super) third: Option<Party>,
    pub(super) limits: Option<Limits>,
    pub(super) hoard: Hoard,
    pub(super) answers: Answers,
    /// `key_ID`s that the master drew and the slave has not collected yet.
    pub(super) loose: Vec<String>,
    rows: Vec<Row>,
}

impl Exam {
    pub(super) fn new(master: Party, slave: Party, third: Option<Party>) -> Self {
        Self {
            master,
            slave,
            third,
            limits: None,
            hoard: Hoard::default(),
            answers: Answers::default(),
            loose: Vec::new(),
            rows: Vec::new(),
        }
    }

    pub(super) fn report(self) -> Report {
        let askers = [&self.master, &self.slave].into_iter().chain(&self.third).map(Party::asker).collect();
        let mut report = Report { askers, rows: self.rows, keys: self.hoard.keys, bits: self.hoard.bits };
        report.sort();
        report
    }

    // Rows.

    pub(super) fn pass(&mut self, check: Check, seen: impl Into<String>) {
        self.row(check, Finding::new(Outcome::Pass, seen), "");
    }

    pub(super) fn fail(&mut self, check: Check, seen: impl Into<String>, advice: &str) {
        self.row(check, Finding::new(Outcome::Fail, seen), advice);
    }

    pub(super) fn differs(&mut self, check: Check, seen: impl Into<String>, advice: &str) {
        self.row(check, Finding::new(Outcome::Differs, seen), advice);
    }

    pub(super) fn skip(&mut self, check: Check, why: impl Into<String>) {
        self.row(check, Finding::new(Outcome::Skipped, why), "");
    }

    /// A row; the advice is for the outcomes that need one.
    pub(super) fn row(&mut self, check: Check, finding: Finding, advice: &str) {
        let Finding { outcome, seen } = finding;
        let needed = matches!(outcome, Outcome::Fail | Outcome::Differs);
        let advice = if needed { advice.to_owned() } else { String::new() };
        self.rows.push(Row { check, outcome, seen, advice });
    }

    // Paths.

    /// The slave's `endpoint`, as the master names it.
    pub(super) fn to_slave(&self, endpoint: &str) -> String {
        path(&self.slave.id, endpoint)
    }

    /// The master's `endpoint`, as the slave names it.
    pub(super) fn to_master(&self, endpoint: &str) -> String {
        path(&self.master.id, endpoint)
    }

    /// "Get key" of the master, by POST.
    pub(super) fn get_key(&self, body: &Value) -> Ask {
        Ask::post(self.to_slave("enc_keys"), body.to_string())
    }

    /// "Get key with key IDs" of the slave, by POST.
    pub(super) fn with_ids(&self, ids: &[String]) -> Ask {
        let ids: Vec<Value> = ids.iter().map(|id| json!({ "key_ID": id })).collect();
        Ask::post(self.to_master("dec_keys"), json!({ "key_IDs": ids }).to_string())
    }

    // Asking.

    pub(super) async fn ask_master(&mut self, ask: &Ask) -> Result<Answer, Trouble> {
        let answer = self.master.caller.ask(ask).await;
        self.noted(ask, answer)
    }

    pub(super) async fn ask_slave(&mut self, ask: &Ask) -> Result<Answer, Trouble> {
        let answer = self.slave.caller.ask(ask).await;
        self.noted(ask, answer)
    }

    /// Takes note of what holds for all answers.
    pub(super) fn noted(&mut self, ask: &Ask, answer: Result<Answer, Trouble>) -> Result<Answer, Trouble> {
        let answer = answer?;
        self.answers.all += 1;
        if !is_json(&answer) {
            let what = answer.content_type.as_deref().unwrap_or("nothing declared").to_owned();
            self.answers.undeclared.note(ask, &what);
        }
        if answer.status != 200 {
            self.answers.errors += 1;
            if let Err(wrong) = message(&answer) {
                self.answers.not_json.note(ask, &format!("{}, {wrong}", answer.status));
            }
        }
        let by_the_standard = matches!(ask.method, Method::GET | Method::POST);
        if by_the_standard && !matches!(answer.status, 200 | 400 | 401 | 503) {
            self.answers.codes.note(ask, &answer.status.to_string());
        }
        Ok(answer)
    }

    /// Draws keys for the slave. They stay on the list of what must be collected.
    pub(super) async fn draw(&mut self, ask: &Ask) -> Result<Vec<Key>, NoKey> {
        for _ in 1..MAX_TRIES {
            let answer = self.ask_master(ask).await.map_err(|trouble| NoKey::Wrong(trouble.to_string()))?;
            let patience = answer.retry_after.as_ref().and_then(|text| text.parse().ok()).map(Duration::from_secs);
            match patience.filter(|wait| answer.status == 503 && *wait <= MAX_PATIENCE) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return self.drawn(&answer),
            }
        }
        let answer = self.ask_master(ask).await.map_err(|trouble| NoKey::Wrong(trouble.to_string()))?;
        self.drawn(&answer)
    }

    /// The keys of an answer to "Get key" of the master.
    pub(super) fn drawn(&mut self, answer: &Answer) -> Result<Vec<Key>, NoKey> {
        let keys = self.fresh(answer)?;
        self.loose.extend(keys.iter().map(|key| key.id.clone()));
        Ok(keys)
    }

    /// The keys of an answer to anybody's "Get key".
    pub(super) fn fresh(&mut self, answer: &Answer) -> Result<Vec<Key>, NoKey> {
        if answer.status != 200 {
            let told = told(answer);
            return Err(if answer.status == 503 { NoKey::Short(told) } else { NoKey::Wrong(told) });
        }
        let (keys, strict) = keys::parse(answer.body.as_ref()).map_err(NoKey::Wrong)?;
        self.hoard.loose_base64 |= !strict;
        for key in &keys {
            self.hoard.note(key);
        }
        Ok(keys)
    }

    /// Draws `number` keys of `bits`, and checks that they are that.
    pub(super) async fn draw_exactly(&mut self, ask: &Ask, number: u64, bits: u64) -> Result<Vec<Key>, NoKey> {
        let keys = self.draw(ask).await?;
        if keys.len() as u64 != number {
            return Err(NoKey::Wrong(format!("{} keys instead of {number}", keys.len())));
        }
        match keys.iter().find(|key| key.bits() != bits) {
            Some(key) => Err(NoKey::Wrong(format!("a key of {} bits instead of {bits}", key.bits()))),
            None => Ok(keys),
        }
    }

    /// `number` keys of the default size, for a check that needs some; or why there are none.
    pub(super) async fn some(&mut self, number: u64) -> Result<Vec<Key>, String> {
        let ask = self.get_key(&json!({ "number": number }));
        match self.draw(&ask).await {
            Ok(keys) if keys.len() as u64 == number => Ok(keys),
            Ok(keys) => Err(format!("{} keys instead of {number} could be had", keys.len())),
            Err(NoKey::Short(why) | NoKey::Wrong(why)) => Err(format!("no key could be had: {why}")),
        }
    }

    /// The slave collects `ids`.
    pub(super) async fn collect(&mut self, ids: &[String]) -> Result<Vec<Key>, String> {
        let ask = self.with_ids(ids);
        let answer = self.ask_slave(&ask).await.map_err(|trouble| trouble.to_string())?;
        self.collected(&answer)
    }

    /// The keys of an answer to "Get key with key IDs" of the slave.
    pub(super) fn collected(&mut self, answer: &Answer) -> Result<Vec<Key>, String> {
        if answer.status != 200 {
            return Err(told(answer));
        }
        let (keys, strict) = keys::parse(answer.body.as_ref())?;
        self.hoard.loose_base64 |= !strict;
        self.loose.retain(|id| !keys.iter().any(|key| key.id.eq_ignore_ascii_case(id)));
        Ok(keys)
    }

    /// Strikes `ids` off the list of what must be collected.
    pub(super) fn forget(&mut self, ids: &[String]) {
        self.loose.retain(|id| !ids.contains(id));
    }

    /// The master asks for what must be refused with 400, and with `words` of the standard where it has some.
    pub(super) async fn master_is_refused(&mut self, ask: &Ask, words: Option<&str>) -> Finding {
        match self.ask_master(ask).await {
            Ok(answer) => {
                if answer.status == 200 {
                    // What was granted must still be collected.
                    let _kept_on_the_list = self.drawn(&answer);
                }
                refusal(ask, &answer, words)
            }
            Err(trouble) => Finding::new(Outcome::Fail, format!("{ask}: {trouble}")),
        }
    }

    /// As [`Self::master_is_refused`], for the slave.
    pub(super) async fn slave_is_refused(&mut self, ask: &Ask, words: Option<&str>) -> Finding {
        match self.ask_slave(ask).await {
            Ok(answer) => refusal(ask, &answer, words),
            Err(trouble) => Finding::new(Outcome::Fail, format!("{ask}: {trouble}")),
        }
    }
}

/// `/api/v1/keys/{SAE_ID}/{endpoint}`.
pub(super) fn path(sae: &SaeId, endpoint: &str) -> String {
    format!("/api/v1/keys/{}/{endpoint}", sae.to_path_segment())
}

/// The `key_ID`s of `keys`.
pub(super) fn ids(keys: &[Key]) -> Vec<String> {
    keys.iter().map(|key| key.id.clone()).collect()
}

/// A `key_ID` that no KME ever gave.
pub(super) fn unknown_id() -> String {
    KeyId::random(&mut rand::rng()).to_string()
}

/// Whether every one of `drawn` is among `collected`, and nothing else.
pub(super) fn all_same(drawn: &[Key], collected: &[Key]) -> bool {
    drawn.len() == collected.len() && drawn.iter().all(|key| collected.iter().any(|other| key.is(other)))
}

/// What an answer should have been, against what it is: 400, in `words` if there are any.
pub(super) fn refusal(ask: &Ask, answer: &Answer, words: Option<&str>) -> Finding {
    match (answer.status, words) {
        (400, None) => Finding::new(Outcome::Pass, told(answer)),
        (400, Some(words)) => {
            let said = message(answer).unwrap_or_default();
            let kept = said.to_lowercase().contains(&words.to_lowercase());
            Finding::new(if kept { Outcome::Pass } else { Outcome::Fail }, told(answer))
        }
        (200, _) => Finding::new(Outcome::Fail, format!("{ask}: granted (200)")),
        (503, _) => {
            Finding::new(Outcome::Differs, format!("{ask}: {}, which sounds as if it could be later", told(answer)))
        }
        _ => Finding::new(Outcome::Fail, format!("{ask}: {} instead of 400", told(answer))),
    }
}

/// Status and message of an answer that holds no key.
pub(super) fn told(answer: &Answer) -> String {
    let status = answer.status;
    match message(answer) {
        _ if status == 200 => "200".to_owned(),
        Ok(message) => format!("{status} \u{201c}{message}\u{201d}"),
        Err(wrong) => format!("{status}, {wrong}"),
    }
}

/// Whether an answer is declared as JSON.
pub(super) fn is_json(answer: &Answer) -> bool {
    let declared = answer.content_type.as_deref().unwrap_or_default();
    let kind = declared.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// The message of an error in the standard's form (clause 6.5), or what is wrong with the form. Quotes the message alone.
pub(super) fn message(answer: &Answer) -> Result<String, String> {
    let body = answer.body.as_ref();
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Err(format!("{} bytes that are no JSON", body.len()));
    };
    let message = value.get("message").and_then(Value::as_str).ok_or("JSON without the string message")?;
    let details = value.get("details").filter(|details| !details.is_null());
    let fine = |details: &Value| details.as_array().is_some_and(|list| list.iter().all(Value::is_object));
    if details.is_some_and(|details| !fine(details)) {
        return Err("details that are no array of objects".to_owned());
    }
    Ok(shown(message))
}
