#!/usr/bin/env bash
# Prints a Python that has timm, sentence-transformers, openai and the like, for the tests that load published models and ask the
# daemon as users do.
#
#   scripts/python-env.sh                             make one in the user's cache folder (about 5.5 GB, once per user)
#   CURIOD_TEST_PYTHON=python3 scripts/python-env.sh  use that one
#
# The packages are pinned in scripts/python-env.txt. An environment counts only once its stamp says that all of
# these pins were installed; one that was interrupted is made again.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/wheels.sh"
pins=$root/scripts/python-env.txt
home=$cache/python
stamp=$home/installed.txt

if [ -n "${CURIOD_TEST_PYTHON:-}" ]; then
  "$CURIOD_TEST_PYTHON" -c 'import PIL, safetensors, timm, torch' ||
    fail "CURIOD_TEST_PYTHON=$CURIOD_TEST_PYTHON lacks one of PIL, safetensors, timm, torch" "pip install -r scripts/python-env.txt there, or unset it"
  echo "$CURIOD_TEST_PYTHON"
  exit 0
fi

installed() { cmp -s "$pins" "$stamp" && [ -x "$home/bin/python" ]; }

if ! installed; then
  command -v python3 >/dev/null || fail "no python3" "install it, for example: apt-get install python3 python3-venv"
  python3 -c 'import ensurepip, venv' 2>/dev/null ||
    fail "python3 can make no virtual environment with pip" "install it, for example: apt-get install python3-venv"
  lock_cache
  if ! installed; then
    need_free_mib 10000 "$cache" "a Python environment with PyTorch"
    echo "python: installing torch, timm, clients (about 5.5 GB, once per user) ..." >&2
    rm -rf "$home"
    python3 -m venv "$home" >&2
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --only-binary=:all: -r "$pins" >&2 ||
      fail "the Python packages could not be installed" "check that pip can reach its index (python3 -m pip config list), or set CURIOD_TEST_PYTHON"
    "$home/bin/python" -c 'import PIL, safetensors, timm, torch' >&2 ||
      fail "the Python packages were installed but can not be imported" "remove $home and try again, or set CURIOD_TEST_PYTHON"
    cp "$pins" "$stamp"
  fi
fi
echo "$home/bin/python"
