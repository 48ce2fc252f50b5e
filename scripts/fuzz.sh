#!/usr/bin/env bash
# Fuzzes every decoder and every parser, each for FUZZ_SECONDS (60), from the seeds in tests/fuzz/seeds.
#
#   scripts/fuzz.sh                 all targets
#   scripts/fuzz.sh jpeg segment    these
#   FUZZ_SANITIZER=none             without AddressSanitizer
#
# What is found on the way stays in tests/fuzz/corpus. An input that breaks a promise is left in tests/fuzz/artifacts,
# and the run fails.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
version=0.13.1
seconds=${FUZZ_SECONDS:-60}
sanitizer=${FUZZ_SANITIZER:-address}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/curiod/cargo-fuzz-$version
cd "$root"

if [ ! -x "$tools/bin/cargo-fuzz" ]; then
  echo "fuzz: installing cargo-fuzz $version into $tools ..." >&2
  cargo install --quiet --locked --root "$tools" --version "$version" cargo-fuzz >&2
fi
PATH=$tools/bin:$PATH
# Coverage and sanitizers are options of the compiler that a stable one has too, under this name.
export RUSTC_BOOTSTRAP=1
cargo_fuzz() { cargo fuzz "$1" --fuzz-dir tests/fuzz --sanitizer "$sanitizer" "${@:2}"; }

if [ $# -gt 0 ]; then targets=$*; else targets=$(cargo fuzz list --fuzz-dir tests/fuzz); fi
if [ -z "$targets" ]; then
  echo "error: tests/fuzz names no target" >&2
  exit 1
fi
cargo_fuzz build >&2
failed=
for target in $targets; do
  # Large enough for what a picture begins with, small enough to be quick.
  # One allocation may take what the limits of the targets allow, and not much more; the tags of a TIFF may take 256 MiB
  # before its size is known, by a bound of its decoder that can not be set.
  mib=64
  case $target in
    tiff) bytes=8192 mib=272 ;;
    bmp | gif | jpeg | jpeg_reduced | png | webp) bytes=8192 ;;
    *) bytes=4096 ;;
  esac
  mkdir -p "tests/fuzz/corpus/$target"
  echo "fuzz: $target for $seconds s" >&2
  cargo_fuzz run "$target" "tests/fuzz/corpus/$target" "tests/fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -max_len="$bytes" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=$mib \
    -print_final_stats=1 -verbosity=0 || failed="$failed $target"
done
if [ -n "$failed" ]; then
  echo "error: these targets found an input that breaks a promise:$failed" >&2
  find tests/fuzz/artifacts -type f | sort | sed 's/^/  /' >&2
  echo "hint: cargo fuzz run --fuzz-dir tests/fuzz TARGET FILE runs it once; once mended, keep it in tests/fuzz/seeds/TARGET" >&2
  exit 1
fi
echo "fuzz: no target found an input that breaks a promise" >&2
