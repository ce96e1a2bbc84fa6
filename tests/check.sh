#!/usr/bin/env bash
# Everything that a change must pass, with the time that each step took: `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."

times=()
step() { # name, command...
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  "$@" || { printf '== %s FAILED after %d s\n' "$name" $((SECONDS - start)); exit 1; }
  times+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
}

step fetch cargo fetch --locked
step format cargo fmt --all --check
step lint cargo clippy --locked --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" step docs cargo doc --locked --workspace --no-deps --quiet
step doc-tests cargo test --locked --workspace --doc --quiet
# The audit of dependencies and the other rules of the house are among these, as house::*.
if cargo nextest --version >/dev/null 2>&1; then
  step tests cargo nextest run --locked --workspace --profile "${NEXTEST_PROFILE:-default}"
else
  echo "cargo-nextest is not installed: cargo test runs the same tests, less clearly (cargo install cargo-nextest)"
  step tests cargo test --locked --workspace --lib --bins --tests
fi

printf '\nAll passed, in %d s:\n' "$SECONDS"
printf '%s\n' "${times[@]}"
