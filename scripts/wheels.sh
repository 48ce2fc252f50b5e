# Sourced by the set-up scripts: Python wheels pinned by hash, kept unpacked in the user's cache folder.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/curiod

fail() { # WHAT NEXT
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

# Downloads the wheels of a pinned requirements file into a folder.
download_wheels() { # REQUIREMENTS DIR PURPOSE
  command -v python3 >/dev/null ||
    fail "no python3, which fetches $3" "install it, for example: apt-get install python3 python3-pip"
  python3 -m pip --version >/dev/null 2>&1 ||
    fail "python3 has no pip, which fetches $3" "install it, for example: apt-get install python3-pip"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_25_x86_64 \
    --platform manylinux_2_24_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --python-version 3.11 --implementation cp --abi cp311 --abi none \
    --require-hashes -r "$1" -d "$2" ||
    fail "$3 could not be downloaded" "check that pip can reach its index (python3 -m pip config list)"
}

# Refuses to start what the disk can not hold.
need_free_mib() { # MIB DIR PURPOSE
  local free
  free=$(df -Pk "$2" | awk 'NR == 2 { print int($4 / 1024) }')
  [ "$free" -ge "$1" ] ||
    fail "$2 has $free MiB free; $3 needs $1" "free some room, or set XDG_CACHE_HOME to a folder on a larger disk"
}

# One unpacking at a time, however many clones are being built.
lock_cache() {
  mkdir -p "$cache" 2>/dev/null || fail "the cache folder $cache can not be made" "set XDG_CACHE_HOME to a folder you can write"
  exec 9>"$cache/.lock"
  if command -v flock >/dev/null; then flock 9; fi
}
