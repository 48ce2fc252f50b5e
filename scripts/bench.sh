#!/usr/bin/env bash
# Every measurement of docs/BENCHMARKS.md, one after the other, each beside its peer where it has one. The last, of learning that
# lasts, takes hours.
#   CURIOD_TEST_DATA=DIR     real pictures; without them, what needs them says so
#   CURIOD_TEST_PYTHON=FILE  a Python with torch 2.11, torchvision, timm, lightly and PIL; without it the peers are left out
set -euo pipefail
cd "$(dirname "$0")/.."
for bench in decode ingest replay augment training search daemon online labels tuning flips serving lasting; do
  printf '\n== %s\n' "$bench"
  cargo bench --quiet --bench "$bench"
done
