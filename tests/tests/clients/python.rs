//! The package `etsi-qkd-014-client` from the Python package index, over Python's `requests`, in a venv of its own.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::world::{World, interop, json as json_of, kept, output};

/// The Python of a venv that has exactly what `requirements.txt` pins. It is made anew when that file changes.
async fn python() -> PathBuf {
    let requirements = interop().join("etsi014").join("requirements.txt");
    let pinned = std::fs::read(&requirements).unwrap();
    let venv = kept("etsi014-venv");
    let (python, done) = (venv.join("bin").join("python"), venv.join("installed.txt"));
    if std::fs::read(&done).is_ok_and(|installed| installed == pinned) {
        return python;
    }
    let mut make = Command::new(system_python().await);
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    let ended = output(make).await;
    assert!(ended.status.success(), "no venv can be made: {}", String::from_utf8_lossy(&ended.stderr));
    install(&python, &requirements).await;
    std::fs::write(done, pinned).unwrap();
    python
}

async fn system_python() -> &'static str {
    for python in ["python3", "/usr/bin/python3"] {
        let mut can = Command::new(python);
        can.args(["-c", "import ensurepip, venv"]);
        if tokio::task::spawn_blocking(move || can.output()).await.unwrap().is_ok_and(|found| found.status.success()) {
            return python;
        }
    }
    panic!("no python3 that makes a venv: install Debian's python3-venv (`make setup` for tests does it)");
}

async fn install(python: &Path, requirements: &Path) {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes"]);
    pip.args(["--only-binary", ":all:", "--no-deps", "--requirement"]).arg(requirements);
    let installed = output(pip).await;
    assert!(
        installed.status.success(),
        "pip could not install {} into a venv. It needs a package index that it can reach (PyPI, or the one that pip is \
         set to), with exactly these files; pip said:\n{}",
        requirements.display(),
        String::from_utf8_lossy(&installed.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_package_etsi_qkd_014_client_takes_keys_and_hears_refusals() {
    let mut exercise = Command::new(python().await);
    let world = World::new().await;
    exercise.arg(interop().join("etsi014").join("exercise.py"));
    exercise.args([world.a.to_string(), world.b.to_string()]).arg(world.folder());
    // Neither a proxy nor other roots of the machine.
    exercise.env("NO_PROXY", "*").env_remove("REQUESTS_CA_BUNDLE").env_remove("CURL_CA_BUNDLE");
    let seen = json_of(exercise).await;
    let status = &seen["status"];
    assert_eq!((&status["source_kme_id"], &status["target_kme_id"]), (&json!("kme-a"), &json!("kme-b")));
    assert_eq!((&status["master_sae_id"], &status["slave_sae_id"]), (&json!("alice"), &json!("bob")));
    assert_eq!(seen["defaults"], json!({ "status": 200, "bits": [256] }));
    assert_eq!(seen["taken"], json!({ "status": 200, "bits": [512, 512, 512] }));
    assert_eq!(seen["collected"], json!({ "status": 200, "bits": [256, 512, 512, 512] }));
    assert_eq!(seen["same"], json!(true), "{seen}");
    for (what, words) in [
        ("with_a_bad_one", "one or more keys specified are not found on KME"),
        ("again", "one or more keys specified are not found on KME"),
        ("size_12", "size shall be a multiple of 8"),
        ("too_many", "number"),
        ("nobody", "nobody"),
        ("mandatory", "not all extension_mandatory parameters are supported"),
    ] {
        let message = seen[what]["message"].as_str().unwrap_or_default();
        assert!(seen[what]["status"] == 400 && message.contains(words), "{what}: {}", seen[what]);
    }
    assert_eq!(seen["optional"], json!({ "status": 200, "bits": [256] }));
    // It leaves a number of 0 out of its request, and so gets one key.
    assert_eq!(seen["no_number"], json!({ "status": 200, "bits": [256] }));
    world.end().await;
}
