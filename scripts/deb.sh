#!/usr/bin/env bash
# Makes a Debian package of the built binaries; `make deb` calls it.
#   scripts/deb.sh [OPTIONS]        options are cargo-deb's: --deb-version 0.1.0-2, --output FILE
set -euo pipefail

CARGO_DEB=3.8.0
# The newest symbols that Debian 12 has. A program that wants newer ones would not start there.
GLIBC=2.36
GLIBCXX=3.4.30
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/wheels.sh"
release=${CARGO_TARGET_DIR:-$root/target}/release
staging=$release/package
tool=$cache/cargo-deb-$CARGO_DEB

for command in strip objdump; do
  command -v "$command" >/dev/null || fail "no $command" "install it, for example: apt-get install binutils"
done
if [ ! -x "$tool/bin/cargo-deb" ]; then
  echo "deb: installing cargo-deb $CARGO_DEB into $tool (once per user) ..." >&2
  cargo install --quiet --locked --version "$CARGO_DEB" --root "$tool" cargo-deb ||
    fail "cargo-deb could not be installed" "check that cargo can reach its registry"
fi

needs_at_most() { # FILE SYMBOL VERSION
  local newest
  newest=$(objdump -T "$1" | { grep -oP "\b$2_\K[0-9.]+" || true; } | sort -Vu | tail -1)
  [ "$(printf '%s\n' "$newest" "$3" | sort -V | tail -1)" = "$3" ] ||
    fail "$1 needs $2 $newest; Debian 12 has $3" "build it on Debian 12"
}

rm -rf "$staging"
DESTDIR=$staging "$root/scripts/install.sh" "$release/curiod" /usr >/dev/null
for program in "$staging/usr/bin/curiod" "$staging/usr/lib/curiod/curiod-engine"; do
  needs_at_most "$program" GLIBC "$GLIBC"
  needs_at_most "$program" GLIBCXX "$GLIBCXX"
  strip "$program"
done
cd "$root"
# The fast compression packs 96 MB in half a minute on two cores.
"$tool/bin/cargo-deb" --no-build --no-strip --fast --quiet "$@"
rm -rf "$staging"
