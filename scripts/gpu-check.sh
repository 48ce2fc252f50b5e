#!/usr/bin/env bash
# What can only be checked where there is a GPU: the daemon with `device.kind = "cuda"` learns and serves all four kinds of data,
# its published folders give the same vectors in Python, and how fast it learns there and on the CPU beside it.
#   scripts/gpu-check.sh DATA OUT      DATA is CURIOD_TEST_DATA's folder; OUT is made, and holds the logs and summary.txt
#   CURIOD=.../curiod   CURIOD_LIBTORCH=DIR (torch/lib of a PyTorch 2.11 with CUDA)   PYTHON=python3 (torch, timm, transformers)
#   KIND=cuda   SECONDS_EACH=60     how long the daemon may take to publish everything
# Ends with 0 if nothing failed. Takes about four minutes.
set -uo pipefail
[ $# = 2 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
data=$(realpath "$1"); mkdir -p "$2"; out=$(realpath "$2")
root=$(cd "$(dirname "$0")/.." && pwd)
curiod=${CURIOD:-${CARGO_TARGET_DIR:-$root/target}/release/curiod}
python=${PYTHON:-python3}
libtorch=${CURIOD_LIBTORCH:-$("$python" -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib"))')}
export LD_LIBRARY_PATH=$libtorch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
failed=0
say() { echo "$(date +%H:%M:%S) $*" | tee -a "$out/summary.txt"; }
bad() { failed=$((failed + 1)); say "FAILED: $*"; }
device='[device]
kind = "'${KIND:-cuda}'"
libtorch_dir = "'$libtorch'"'

# 1. All kinds of data at once, with the networks that a GPU gets by default.
work=$(mktemp -d); port=18733
mkdir -p "$work"/{pictures,texts,series,agent}
tar -xf "$data/images/cifar10/cifar10.tar" -C "$work/pictures"
cp "$data/text/packages/packages_en.jsonl" "$work/texts"
cp "$data/timeseries/ett/ETTh1.csv" "$work/series"
cp "$data/transitions/cartpole.jsonl" "$work/agent"
{
  printf 'state_dir = "%s/state"\n%s\n[server]\nbind = "127.0.0.1:%s"\n' "$work" "$device" "$port"
  printf '[learning]\nimage_px = 64\ntokens_max = 128\nwarmup_steps = 50\n[publication]\nfirst_candidate_steps = 20\ncandidate_steps = 50\n'
  for stream in pictures:image texts:text series:series agent:transition; do
    printf '[[stream]]\nname = "%s"\nmodality = "%s"\ninbox = ["%s/%s"]\n' "${stream%:*}" "${stream#*:}" "$work" "${stream%:*}"
  done
} >"$work/c.toml"
"$curiod" doctor --config "$work/c.toml" >"$out/doctor.txt" 2>&1 || bad "doctor: $(grep -v '^ok' "$out/doctor.txt" | head -3)"
"$curiod" run --config "$work/c.toml" >"$out/daemon.log" 2>&1 & daemon=$!
trap 'kill $daemon 2>/dev/null' EXIT
export CURIOD_URL=http://127.0.0.1:$port
published() { "$curiod" status --json 2>/dev/null | "$python" -c 'import json, sys
print(sum(1 for stream in json.load(sys.stdin)["streams"] if stream.get("generation")))' 2>/dev/null || echo 0; }
until [ "$(published)" = 4 ] || [ "$SECONDS" -gt "${SECONDS_EACH:-60}" ] || ! kill -0 $daemon; do sleep 1; done
sleep 10
"$curiod" status | tee "$out/status.txt"
[ "$(published)" = 4 ] || bad "published $(published) of 4 streams; daemon.log: $(grep -i -m3 'error\|panic' "$out/daemon.log")"
nvidia-smi --query-gpu=name,memory.used,utilization.gpu --format=csv,noheader | tee -a "$out/summary.txt"
"$python" - "$work" "http://127.0.0.1:$port" <<'PY' 2>"$out/python.err" | tee -a "$out/summary.txt" || bad "vectors in Python: $(tail -1 "$out/python.err")"
"""The daemon's vectors and those of its published folders, loaded by the libraries they are meant for."""
import json, pathlib, sys, time, urllib.request
import numpy as np, torch
work, url = pathlib.Path(sys.argv[1]), sys.argv[2]
def ask(body):
    request = urllib.request.Request(url + "/api/v1/embed", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return np.array([r["embedding"] if isinstance(r, dict) else r for r in json.load(urllib.request.urlopen(request))["embeddings"]], dtype=np.float64)
unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
texts = [json.loads(line)["text"] for line in open(work / "texts/packages_en.jsonl")][:64]
began = time.time(); ours = ask({"model": "texts", "texts": texts}); took = time.time() - began
from transformers import AutoModel, AutoTokenizer
folder = (work / "state/registry/texts/latest").resolve()
tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
rows = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
with torch.no_grad():
    hidden = network(**rows).last_hidden_state; mask = rows["attention_mask"].unsqueeze(-1)
    theirs = ((hidden * mask).sum(1) / mask.sum(1)).double().numpy()
cosines = (unit(ours) * unit(theirs)).sum(1)
print("texts: 64 embedded in %.3f s; cosine to transformers on the CPU: least %.6f" % (took, cosines.min()))
assert cosines.min() > 0.999, cosines.min()
PY
picture=$(find "$work/pictures" -name '*.jpg' | head -1)
"$curiod" search --model pictures --file "$picture" >"$out/search.txt" 2>&1 || bad "search of a picture: $(tail -2 "$out/search.txt")"
"$curiod" novelty --model series --series "$work/series/ETTh1.csv" --csv "$work/n.csv" >"$out/novelty.txt" 2>&1 || bad "novelty of a series: $(tail -2 "$out/novelty.txt")"
"$curiod" curiosity --model agent "$work/agent/cartpole.jsonl" --csv "$work/k.csv" >"$out/curiosity.txt" 2>&1 || bad "curiosity of transitions: $(tail -2 "$out/curiosity.txt")"
"$curiod" fill --model texts 'a [MASK] library' >"$out/fill.txt" 2>&1 || bad "fill: $(tail -2 "$out/fill.txt")"
kill -TERM $daemon; wait $daemon || bad "the daemon ended with $?"
trap - EXIT
grep -c WARN "$out/daemon.log" | sed 's/^/warnings in the log: /' | tee -a "$out/summary.txt"
rm -rf "$work"

# 2. What a step takes: the same archive on the GPU and on the CPU.
speed() { # NAME KIND STEPS FLAGS...
  local name=$1 kind=$2 steps=$3; shift 3
  { printf 'state_dir = "/nonexistent/state"\n'; if [ "$kind" = cuda ]; then echo "$device"; fi
    printf '[[stream]]\nname = "s"\nmodality = "%s"\ninbox = ["/nonexistent/in"]\n' "$modality"; } >"$out/$name.toml"
  timeout 100 "$curiod" backtest --config "$out/$name.toml" --steps "$steps" --experiences 1 --seeds 1 --arms iid --known 500 --buffer 4000 \
    --set learning.warmup_steps=20 --json "$@" >"$out/$name.json" 2>"$out/$name.err" || { bad "$name: $(grep -v '^$' "$out/$name.err" | tail -2)"; return; }
  "$python" - "$name" "$steps" "$out/$name.json" <<'PY' | tee -a "$out/summary.txt"
import json, sys
def find(value, key):
    if isinstance(value, dict):
        if key in value: yield value[key]
        for inner in value.values(): yield from find(inner, key)
    elif isinstance(value, list):
        for inner in value: yield from find(inner, key)
report = json.load(open(sys.argv[3]))
spent = next(find(report, "seconds"))["mean"]
print("%-28s %6.1f steps/s" % (sys.argv[1], int(sys.argv[2]) / spent))
PY
}
modality=image; cifar=(--data "$data/images/cifar10/cifar10.tar" --order "$data/images/cifar10/manifest.csv" --labels class)
speed resnet_tiny_64_bf16_cuda cuda 300 "${cifar[@]}" --set learning.encoder=resnet_tiny --set learning.precision=bf16
speed resnet_tiny_64_fp32_cuda cuda 300 "${cifar[@]}" --set learning.encoder=resnet_tiny --set learning.precision=fp32
speed resnet_tiny_64_bf16_cpu cpu 30 "${cifar[@]}" --set learning.encoder=resnet_tiny --set learning.precision=bf16
speed resnet18_64_b256_bf16_cuda cuda 100 "${cifar[@]}" --set learning.encoder=resnet18 --set learning.image_px=64 --set learning.precision=bf16
speed resnet18_64_b256_fp32_cuda cuda 100 "${cifar[@]}" --set learning.encoder=resnet18 --set learning.image_px=64 --set learning.precision=fp32
speed vit_small_224_mae_bf16_cuda cuda 30 "${cifar[@]}" --set learning.objective=mae --set learning.encoder=vit_small --set learning.precision=bf16
[ "$failed" = 0 ] && say "nothing failed" || say "$failed checks failed"
exit "$failed"
