#!/usr/bin/env bash
# The long backtest for a GPU: the low-compute cell of CLA (CoLLAs 2025) on Split-CIFAR-100, every arm over three seeds.
#   scripts/long-run.sh DATA.tar MANIFEST.csv OUT
# DATA.tar holds CIFAR-100 as picture files, MANIFEST.csv has the columns path, class, split, in the order of the stream (class
# after class). 20 experiences, 10 pictures arrive together, a buffer of 2,000, 270,000 steps of 128
# pictures (the cell's 270k, read as steps: that reading is ours). Not run so far.
#   CURIOD_LIBTORCH=DIR   the folder of a libtorch_cuda.so (torch/lib of PyTorch 2.11)
#   STEPS=270000 SEEDS=3  to make it shorter
# The network is a ResNet-18 that sees pictures of 64 px: timm has no ResNet with a stem for 32 px, and what is published must
# load there; the pictures enlarged twice reach the same resolution behind the stem as the usual CIFAR stem at 32 px halved once.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
curiod=${CURIOD:-${CARGO_TARGET_DIR:-$root/target}/release/curiod}
config=$(mktemp "${TMPDIR:-/tmp}/curiod-long-run-XXXXXX.toml")
trap 'rm -f "$config"' EXIT
cat >"$config" <<END
state_dir = "/nonexistent/state"
[device]
kind = "cuda"
${CURIOD_LIBTORCH:+libtorch_dir = "$CURIOD_LIBTORCH"}
[learning]
encoder = "resnet18"
image_px = 64
batch = 128
[[stream]]
name = "long-run"
modality = "image"
inbox = ["/nonexistent/inbox"]
END
"$curiod" backtest --config "$config" --data "$1" --order "$2" --labels class --out "$3" --json \
  --experiences 20 --together 10 --buffer 2000 --steps "${STEPS:-270000}" --seeds "${SEEDS:-3}" \
  --arms random,pixels,iid,naive,fifo,reservoir,minred,curiod
