#!/usr/bin/env bash
# Puts libtorch 2.11.0 where the build looks for it: the link .libtorch in the project.
#
#   scripts/libtorch.sh           make .libtorch point at a verified libtorch
#   LIBTORCH=DIR scripts/libtorch.sh   use the libtorch in DIR instead
#
# What is downloaded is three Python wheels, pinned by hash in scripts/libtorch.txt; only the CPU
# libraries, the two CUDA libraries they are linked to, and the headers are unpacked. The unpacked copy
# stays in the user's cache folder, so that a second clone takes seconds. Running it again does nothing.
set -euo pipefail

VERSION=2.11.0
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/wheels.sh"
home=$cache/libtorch-$VERSION
link=$root/.libtorch

# A libtorch is whole when the libraries the binary needs and the headers the shim needs are there.
whole() { # DIR
  local file
  for file in lib/libtorch_cpu.so lib/libtorch.so lib/libc10.so include/ATen/ATen.h \
    include/torch/csrc/api/include/torch/torch.h; do
    [ -e "$1/$file" ] || { missing=$file; return 1; }
  done
}

point_at() { # DIR
  if [ -e "$link" ] && [ ! -L "$link" ]; then
    fail "$link exists and is not a link" "remove it and run scripts/libtorch.sh again"
  fi
  [ "$(readlink "$link" 2>/dev/null)" = "$1" ] || ln -sfn "$1" "$link"
}

[ "$(uname -sm)" = "Linux x86_64" ] ||
  [ -n "${LIBTORCH:-}" ] ||
  fail "no prebuilt libtorch is pinned for $(uname -sm)" "build libtorch $VERSION yourself and set LIBTORCH to its folder"
command -v "${CXX:-c++}" >/dev/null ||
  fail "no C++ compiler (${CXX:-c++})" "install one, for example: apt-get install g++"

missing=
if [ -n "${LIBTORCH:-}" ]; then
  given=$(cd "$LIBTORCH" 2>/dev/null && pwd -P) || fail "LIBTORCH=$LIBTORCH is not a folder" "point it at an unpacked libtorch $VERSION, or unset it"
  if [ "$given" = "$(readlink -f "$link" 2>/dev/null)" ] && whole "$given"; then exit 0; fi
  whole "$given" || fail "LIBTORCH=$given has no $missing" "point it at an unpacked libtorch $VERSION, or unset it"
  found=$(cat "$given/build-version" 2>/dev/null || sed -n 's/^#define TORCH_VERSION "\(.*\)"/\1/p' "$given/include/torch/csrc/api/include/torch/version.h" 2>/dev/null || true)
  case $found in
    "$VERSION"*) ;;
    *) fail "LIBTORCH=$given is libtorch ${found:-of unknown version}; curiod needs $VERSION" "point it at libtorch $VERSION, or unset it" ;;
  esac
  point_at "$given"
  echo "libtorch: $given (from LIBTORCH)" >&2
  exit 0
fi

# An unpacked copy whose libraries still have their hashes.
kept() {
  [ -f "$home/SHA256SUMS" ] && whole "$home" && (cd "$home" && sha256sum --check --quiet --status SHA256SUMS)
}

if kept; then
  point_at "$home"
  exit 0
fi
lock_cache
if kept; then # Another clone unpacked it while this one waited.
  point_at "$home"
  exit 0
fi
need_free_mib 2500 "$cache" "unpacking libtorch"
echo "libtorch: downloading $VERSION (about 545 MB, once per user) ..." >&2
staging=$(mktemp -d "$cache/.libtorch-XXXXXX")
trap 'rm -rf "$staging"' EXIT
download_wheels "$root/scripts/libtorch.txt" "$staging/wheels" "libtorch (or set LIBTORCH to an unpacked one)"

echo "libtorch: unpacking ..." >&2
python3 - "$staging/wheels" "$staging/libtorch" <<'PY'
import os, shutil, sys, zipfile

wheels, target = sys.argv[1:]
LIBRARIES = {"libtorch_cpu.so", "libc10.so", "libtorch.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13"}
LICENCES = ("LICENSE", "NOTICE")

def destination(name):
    base = os.path.basename(name)
    if base in LIBRARIES:
        return "lib/" + base
    if name.startswith("torch/include/"):
        return name[len("torch/"):]
    if base.startswith(LICENCES) and ".dist-info/" in name:
        return "licences/" + name.replace("/", "-")
    return None

for wheel in sorted(os.listdir(wheels)):
    with zipfile.ZipFile(os.path.join(wheels, wheel)) as archive:
        for entry in archive.infolist():
            place = None if entry.is_dir() else destination(entry.filename)
            if place is None:
                continue
            path = os.path.join(target, place)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(entry) as source, open(path, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
PY
echo "$VERSION" >"$staging/libtorch/build-version"
whole "$staging/libtorch" || fail "the wheels hold no $missing" "report this: the pinned wheels are not what was expected"
# The headers are checked by their presence; the libraries, which run, by their hash.
(cd "$staging/libtorch" && sha256sum lib/* build-version >SHA256SUMS)
rm -rf "$home"
mv "$staging/libtorch" "$home"
point_at "$home"
echo "libtorch: $home" >&2
