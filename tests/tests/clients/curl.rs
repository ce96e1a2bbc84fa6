//! curl, with mutual TLS: the client that everybody has.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use super::world::{World, output};

/// What curl got.
struct Got {
    status: u16,
    content_type: String,
    body: Value,
}

impl Got {
    fn message(&self) -> &str {
        assert_eq!(self.content_type, "application/json");
        self.body["message"].as_str().unwrap()
    }
}

/// Runs curl as `who` (nobody, for an empty name); `None` if it did not get as far as an answer.
async fn curl(world: &World, who: &str, kme: SocketAddr, path: &str, more: &[&str]) -> Option<Got> {
    let mut curl = Command::new("curl");
    let file = |name: String| world.folder().join(name);
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30"]);
    curl.arg("--cacert").arg(file("root.pem".to_owned()));
    if !who.is_empty() {
        curl.arg("--cert").arg(file(format!("{who}.pem"))).arg("--key").arg(file(format!("{who}.key")));
    }
    curl.args(["--write-out", "\n%{http_code} %{content_type}"]).args(more);
    curl.arg(format!("https://{kme}/api/v1/keys/{path}"));
    let output = output(curl).await;
    if !output.status.success() {
        return None;
    }
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, rest) = said.rsplit_once('\n').unwrap();
    let (status, content_type) = rest.split_once(' ').unwrap();
    Some(Got {
        status: status.parse().unwrap(),
        content_type: content_type.to_owned(),
        body: serde_json::from_str(body).unwrap(),
    })
}

const JSON: [&str; 3] = ["--header", "Content-Type: application/json", "--data"];

#[tokio::test(flavor = "multi_thread")]
async fn curl_takes_keys_by_get_and_by_post() {
    let world = World::new().await;
    let status = curl(&world, "alice", world.a, "bob/status", &[]).await.unwrap();
    assert_eq!(
        (status.status, &status.body["master_SAE_ID"], &status.body["key_size"]),
        (200, &json!("alice"), &json!(256))
    );
    let by_get = curl(&world, "alice", world.a, "bob/enc_keys?number=2&size=1024", &[]).await.unwrap();
    let posted = [JSON.as_slice(), &[r#"{"number":2,"size":1024}"#]].concat();
    let by_post = curl(&world, "alice", world.a, "bob/enc_keys", &posted).await.unwrap();
    // Without the header, curl declares a form: the KME goes by the body.
    let as_a_form = curl(&world, "alice", world.a, "bob/enc_keys", &["--data", r#"{"size":64}"#]).await.unwrap();
    assert_eq!(as_a_form.body["keys"].as_array().unwrap().len(), 1);
    for taken in [by_get, by_post] {
        let keys = taken.body["keys"].as_array().unwrap();
        assert_eq!((taken.status, keys.len(), keys[0]["key"].as_str().unwrap().len()), (200, 2, 172));
        let one = format!("alice/dec_keys?key_ID={}", keys[0]["key_ID"].as_str().unwrap());
        let first = curl(&world, "bob", world.b, &one, &[]).await.unwrap();
        assert_eq!(first.body, json!({ "keys": [keys[0]] }));
        let ids = json!({ "key_IDs": [{ "key_ID": keys[1]["key_ID"] }] }).to_string();
        let second =
            curl(&world, "bob", world.b, "alice/dec_keys", &[JSON.as_slice(), &[&ids]].concat()).await.unwrap();
        assert_eq!(second.body, json!({ "keys": [keys[1]] }));
        let again = curl(&world, "bob", world.b, &one, &[]).await.unwrap();
        assert_eq!((again.status, again.message()), (400, "one or more keys specified are not found on KME"));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_told_what_is_wrong() {
    let world = World::new().await;
    let odd = curl(&world, "alice", world.a, "bob/enc_keys?size=12", &[]).await.unwrap();
    assert_eq!((odd.status, odd.message()), (400, "size shall be a multiple of 8"));
    let nobody = curl(&world, "alice", world.a, "nobody/status", &[]).await.unwrap();
    assert!(nobody.status == 400 && nobody.message().contains("nobody"));
    let unknown = curl(&world, "mallory", world.a, "bob/status", &[]).await.unwrap();
    assert!(unknown.status == 401 && unknown.message().contains("mallory"));
    let deleted = curl(&world, "alice", world.a, "bob/enc_keys", &["--request", "DELETE"]).await.unwrap();
    assert!(deleted.status == 405 && !deleted.message().is_empty());
    assert!(curl(&world, "", world.a, "bob/status", &[]).await.is_none(), "no certificate, no answer");
    let old = curl(&world, "alice", world.a, "bob/status", &["--tls-max", "1.2"]).await.unwrap();
    assert_eq!(old.status, 200, "TLS 1.2 is enough");
    assert!(curl(&world, "alice", world.a, "bob/status", &["--tls-max", "1.1"]).await.is_none(), "TLS 1.1 is not");
    world.end().await;
}
