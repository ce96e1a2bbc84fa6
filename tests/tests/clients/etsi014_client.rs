//! The crate `etsi014-client`, over OpenSSL, in a program of its own (`tests/interop/etsi014-client`).

use std::process::Command;

use serde_json::{Value, json};

use super::world::{World, interop, json as json_of, kept, output};

/// Builds the program, once: its lock file is its own, because the crate brings OpenSSL and libsodium.
async fn program() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let (project, target) = (interop().join("etsi014-client"), kept("etsi014-client"));
    let mut build = Command::new(cargo);
    build.current_dir(&project).args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target);
    // Its build script would write C headers into cargo's own folders.
    build.env("E14_NO_BINDINGS", "1");
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"] {
        build.env_remove(name);
    }
    let ended = output(build).await;
    let words = String::from_utf8_lossy(&ended.stderr);
    assert!(
        ended.status.success(),
        "the crate etsi014-client cannot be built. It needs Debian's libssl-dev and libsodium-dev (`make setup` for \
         tests does it), and crates.io the first time:\n{words}"
    );
    Command::new(target.join("debug").join("etsi014-client-exercise"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_etsi014_client_takes_keys_and_hears_refusals() {
    let mut exercise = program().await;
    let world = World::new().await;
    exercise.args(["127.0.0.1", &world.a.port().to_string(), &world.b.port().to_string()]).arg(world.folder());
    let seen = json_of(exercise).await;
    let status = json!({ "source_KME_ID": "kme-a", "target_KME_ID": "kme-b", "master_SAE_ID": "alice",
        "slave_SAE_ID": "bob", "key_size": 256 });
    assert_eq!(seen["status"], status);
    assert_eq!(seen["taken"], json!([256, 256, 256]), "it sends additional_target_sae_ids, which the standard has not");
    assert_eq!((&seen["collected"], &seen["same"]), (&seen["taken"], &Value::Bool(true)), "{seen}");
    for (what, words) in [
        ("with_a_bad_one", "one or more keys specified are not found on KME"),
        ("again", "one or more keys specified are not found on KME"),
        ("size_12", "size shall be a multiple of 8"),
        ("too_many", "number"),
        ("nobody", "nobody"),
    ] {
        let error = seen[what]["error"].as_str().unwrap_or_default();
        assert!(error.contains("400 Bad Request") && error.contains(words), "{what}: {}", seen[what]);
    }
    // It names additional slaves in a field that the standard does not have, so that no KME sees them.
    assert_eq!(seen["additional"], json!([256]));
    world.end().await;
}
