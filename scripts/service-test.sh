#!/usr/bin/env bash
# Installs the Debian package on a Debian 12 of its own and puts its service through what a service lives through.
#   scripts/service-test.sh [FILE.deb]       as root; without a file, of the binaries that are built
#   CURIOD_TEST_DATA=DIR                     real pictures, below images/photos
# The machine is a container without a network, booted from a copy of a root that is made once per user by debootstrap.
# The steps are in scripts/service-test-steps.sh, which runs inside. Nothing of it stays: the copy is removed at the end.
# Where something is missing that it needs, it says so and ends with 0.
set -euo pipefail

MINUTES_MAX=25
SUITE=bookworm
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/wheels.sh"
base=$cache/debian-12-root
pictures=${CURIOD_TEST_DATA:-}/images/photos

skip() { # WHY
  echo "skipped: $1"
  exit 0
}

[ "$(id -u)" = 0 ] || skip "booting a container takes root"
for command in systemd-nspawn debootstrap dpkg-deb; do
  command -v "$command" >/dev/null || skip "there is no $command (apt-get install systemd-container debootstrap dpkg)"
done
[ -n "${CURIOD_TEST_DATA:-}" ] || skip "CURIOD_TEST_DATA is not set; it names the folder with real pictures"
[ -d "$pictures/trash" ] && [ -d "$pictures/microscope" ] || skip "$pictures has no trash and microscope pictures"
need_free_mib 6000 "${TMPDIR:-/tmp}" "the service test"

# Only what this script starts is ended, and only what it makes is removed.
machine='' log_reader=''
room=$(mktemp -d "${TMPDIR:-/tmp}/curiod-service-test-XXXXXX")
clean_up() {
  if [ -n "$machine" ] && kill -0 "$machine" 2>/dev/null; then
    kill -TERM "$machine" 2>/dev/null || true
    wait "$machine" 2>/dev/null || true
  fi
  if [ -n "$log_reader" ]; then kill "$log_reader" 2>/dev/null || true; fi
  rm -rf --one-file-system "$room"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

if [ ! -d "$base" ]; then
  echo "service-test: making a Debian 12 root (once per user) ..."
  lock_cache
  if [ ! -d "$base" ]; then
    making=$(mktemp -d "$cache/.debian-12-XXXXXX")
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus "$SUITE" "$making/root" >"$room/debootstrap.log" 2>&1 || {
      tail -5 "$room/debootstrap.log"
      rm -rf "$making"
      skip "debootstrap could not make a Debian 12 root (see above); it needs a mirror it can reach"
    }
    rm -rf "$making/root/var/cache/apt/archives/"*.deb
    mv "$making/root" "$base"
    rmdir "$making"
  fi
  exec 9>&-
fi

guest=$room/root
cp -a "$base" "$guest"
test=$guest/service-test
mkdir -p "$test/trash" "$test/microscope"
if [ $# -gt 0 ]; then
  cp "$1" "$test/first.deb"
else
  echo "service-test: packing the built binaries ..."
  "$root/scripts/deb.sh" --output "$test/first.deb" >/dev/null
fi
# The upgrade: the same files under a higher version.
dpkg-deb -R "$test/first.deb" "$room/second"
sed -i 's/^Version: .*/&+upgraded/' "$room/second/DEBIAN/control"
dpkg-deb --root-owner-group -Zgzip -z1 -b "$room/second" "$test/second.deb" >/dev/null
rm -rf "$room/second"
find "$pictures/trash" -name '*.jpg' -exec cp -t "$test/trash" {} +
find "$pictures/microscope" -name '*.jpg' -exec cp -t "$test/microscope" {} +
cp "$root/scripts/service-test-steps.sh" "$test/steps.sh"
touch "$test/log"

cat >"$guest/etc/systemd/system/service-test.service" <<'END'
[Unit]
Description=The steps of the service test
After=multi-user.target

[Service]
ExecStart=/bin/bash /service-test/steps.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=append:/service-test/log
StandardError=append:/service-test/log

[Install]
WantedBy=default.target
END
systemctl --root="$guest" enable service-test.service 2>/dev/null
systemctl --root="$guest" set-default multi-user.target >/dev/null 2>&1

echo "service-test: booting Debian 12 ..."
tail -n +1 -f "$test/log" &
log_reader=$!
timeout --kill-after=30 "${MINUTES_MAX}m" systemd-nspawn --quiet -D "$guest" --machine="curiod-test-$$" --boot \
  --register=no --keep-unit --private-network --link-journal=no --console=pipe </dev/null >"$room/console" 2>&1 &
machine=$!
ended=0
wait "$machine" || ended=$?
machine=''
sleep 1
case $(cat "$test/result" 2>/dev/null) in
  passed) echo "service-test: passed" ;;
  failed) echo "service-test: FAILED, see above"; exit 1 ;;
  *)
    tail -20 "$room/console"
    [ "$ended" != 124 ] || echo "it ran longer than $MINUTES_MAX minutes"
    echo "service-test: FAILED: the machine ended (with $ended) before its steps did"
    exit 1
    ;;
esac
