//! Takes keys from two KMEs through the crate etsi014-client, and prints what it saw as one JSON object.
//!
//! It judges nothing: the test that runs it does. Of keys it tells lengths, and whether both sides got the same.
//!
//! Usage: `etsi014-client-exercise HOST MASTER_PORT SLAVE_PORT FOLDER`, with `root.pem`, `alice.pem`, `alice.key`,
//! `bob.pem` and `bob.key` (PKCS#8) in the folder. Alice is the master.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;

use etsi014_client::{ETSI014Client, SecretVec};
use serde_json::{Value, json};

/// A `key_ID` that no KME ever gave.
const UNKNOWN: &str = "bc490419-7d60-487f-adc1-4ddcc177c139";

type Keys = Result<Vec<(String, SecretVec<u8>)>, etsi014_client::Error>;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, master_port, slave_port, folder] = args.as_slice() else {
        return Err("usage: etsi014-client-exercise HOST MASTER_PORT SLAVE_PORT FOLDER".into());
    };
    let client = |port: &str, name: &str| -> Result<ETSI014Client, Box<dyn Error>> {
        let folder = Path::new(folder);
        let (chain, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        Ok(ETSI014Client::new(host, port.parse()?, &chain, &key, &folder.join("root.pem"))?)
    };
    let (alice, bob) = (client(master_port, "alice")?, client(slave_port, "bob")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seen = runtime.block_on(exercise(&alice, &bob));
    writeln!(io::stdout(), "{seen}")?;
    Ok(())
}

async fn exercise(alice: &ETSI014Client, bob: &ETSI014Client) -> Value {
    let status = alice.get_status("bob").await.map_or_else(
        |error| json!({ "error": error.to_string() }),
        |status| {
            json!({
                "source_KME_ID": status.source_kme_id,
                "target_KME_ID": status.target_kme_id,
                "master_SAE_ID": status.source_sae_id,
                "slave_SAE_ID": status.target_sae_id,
                "key_size": status.key_size,
            })
        },
    );
    let taken = alice.get_keys(256, "bob", &[], 3).await;
    let ids: Vec<String> = taken.iter().flatten().map(|(id, _)| id.clone()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let with_a_bad_one = bob.get_keys_by_ids("alice", &[ids.as_slice(), &[UNKNOWN]].concat()).await;
    let collected = bob.get_keys_by_ids("alice", &ids).await;
    let same = match (&taken, &collected) {
        (Ok(taken), Ok(collected)) => {
            let of = |id: &str| collected.iter().find(|(other, _)| other == id).map(|(_, key)| key);
            let same = |(id, key): &(String, SecretVec<u8>)| of(id).is_some_and(|other| *key.borrow() == *other.borrow());
            taken.iter().all(same)
        }
        _ => false,
    };
    json!({
        "status": status,
        "taken": told(&taken),
        "with_a_bad_one": told(&with_a_bad_one),
        "collected": told(&collected),
        "same": same,
        "again": told(&bob.get_keys_by_ids("alice", &ids).await),
        "size_12": told(&alice.get_keys(12, "bob", &[], 1).await),
        "too_many": told(&alice.get_keys(256, "bob", &[], 100_000).await),
        "nobody": told(&alice.get_keys(256, "nobody", &[], 1).await),
        "additional": told(&alice.get_keys(256, "bob", &["carol"], 1).await),
    })
}

/// Lengths of the keys in bits, or the error's text.
fn told(keys: &Keys) -> Value {
    match keys {
        Ok(keys) => json!(keys.iter().map(|(_, key)| key.len() * 8).collect::<Vec<_>>()),
        Err(error) => json!({ "error": error.to_string() }),
    }
}
