#!/usr/bin/env bash
# Installs the system packages that are missing: setup.sh [build|test]
#   build   what `make demo` needs (the default)
#   test    that, and what `make test` needs on top
# It says what it does and why, asks for root only when something must be installed, and does nothing the second time.
set -euo pipefail

# package : a command or pkg-config module that shows it is there : why
build_needs=(
  "build-essential:cc:compiles and links the C in aws-lc, ring and Opus"
  "cmake:cmake:builds Opus, whose source the crate opusic-sys brings along"
  "pkg-config:pkg-config:finds the ALSA library"
  "libasound2-dev:pc=alsa:ALSA's headers: microphones and speakers on Linux (crate cpal)"
)
test_needs=(
  "pulseaudio:pulseaudio:a sound server with devices that exist in software only"
  "pulseaudio-utils:pactl:makes those devices and looks at them"
  "libasound2-plugins:so=libasound_module_pcm_pulse.so:lets ALSA programs use the sound server"
  "sox:sox:measures what was recorded"
  "python3-cryptography:py=cryptography:the second implementation that decodes recorded sessions"
  "postgresql:pg_ctlcluster:a database server that the ledger's tests start for themselves"
  "curl:curl:a client of our KME that everybody has"
  "python3-venv:py=ensurepip:makes the venvs of the client etsi-qkd-014-client and of the speech scores"
  "python3-dev:pc=python3:Python's headers, for the speech score PESQ"
  "libssl-dev:pc=libssl:OpenSSL's headers, for the client etsi014-client"
  "libsodium-dev:pc=libsodium:libsodium's headers, for the client etsi014-client"
)

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

on_debian() { command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; }

present() { # package, sign
  if on_debian; then
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ] && return 0
    # Present without its package, such as a newer cmake. A library's files are not searched for: its package must be there.
    case $2 in *=*) return 1 ;; *) command -v "$2" >/dev/null ;; esac
  else
    case $2 in
      pc=*) pkg-config --exists "${2#pc=}" 2>/dev/null ;;
      so=*) find /usr/lib /usr/lib64 -name "${2#so=}" 2>/dev/null | grep -q . ;;
      py=*) python3 -c "import ${2#py=}" 2>/dev/null ;;
      *) command -v "$2" >/dev/null ;;
    esac
  fi
}

case ${1:-build} in
  build) needs=("${build_needs[@]}") ;;
  test) needs=("${build_needs[@]}" "${test_needs[@]}") ;;
  *) fail "say 'build' or 'test', not '$1'" ;;
esac

command -v cargo >/dev/null ||
  fail "cargo is not installed. Get Rust from https://rustup.rs (this project needs 1.95 or later), then run this again."

missing=()
for need in "${needs[@]}"; do
  IFS=: read -r package sign why <<<"$need"
  present "$package" "$sign" && continue
  [ ${#missing[@]} -gt 0 ] || echo "setup: these system packages are missing:"
  printf '  %-22s %s\n' "$package" "$why"
  missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

on_debian || fail "this script installs packages on Debian and Ubuntu only. Install what your system calls the above, and run it again."

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || fail "run this as root: apt-get install ${missing[*]}"
  as_root=(sudo)
  [ -t 0 ] || as_root=(sudo -n)
  echo "setup: installing them takes root, so sudo may ask for your password"
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
echo "setup: apt-get update, then apt-get install ${missing[*]}"
"${apt[@]}" update </dev/null || fail "the package lists could not be fetched; is there a network?"
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null ||
  fail "apt-get could not install them; its words are above"
echo "setup: done"
