#!/usr/bin/env bash
# The steps of scripts/service-test.sh, run inside the machine as root. The first step that fails ends the test.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
INBOX=/var/lib/curiod-inbox
STATE=/var/lib/curiod
CONFIG=/etc/curiod/curiod.toml
DROP_INS=/etc/systemd/system/curiod.service.d
cd /service-test
echo failed >result

ok() { printf '%4ds ok: %s\n' "$SECONDS" "$1"; }
failed() { # WHAT
  printf '%4ds FAILED: %s\n' "$SECONDS" "$1"
  systemctl status --no-pager --lines=0 curiod || true
  journalctl --no-pager --lines=30 --output=cat -u curiod || true
  exit 1
}
trap 'failed "line $LINENO: $BASH_COMMAND"' ERR
set -E

quietly() { # COMMAND...: shown only if it fails
  "$@" >output 2>&1 || { cat output; failed "$*"; }
}
until_true() { # SECONDS WHAT COMMAND...
  local until=$((SECONDS + $1)) what=$2
  shift 2
  while ! "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || failed "waited in vain until $what"
    sleep 0.5
  done
}
property() { systemctl show --property="$1" --value curiod; }
main_pid() { property MainPID; }
number() { # KEY: of the only stream's status; nothing while it is null
  curiod status --json 2>/dev/null | sed -n "s/^ *\"$1\": \([0-9]\+\),\?$/\1/p"
}
is() { [ "$(number "$1")" = "$2" ]; }
more_than() { [ "$(number sources_accepted)" -gt "$1" ]; } # COUNT
all_searchable() { # COUNT
  is sources_accepted "$1" && is index_covered "$1" && is index_total "$1"
}
answers() { curiod status; }
another_process() { # PID
  [ "$(property ActiveState)" = active ] && [ "$(main_pid)" != "$1" ]
}
said() { # CURSOR TEXT
  journalctl --no-pager --output=cat --after-cursor="$1" -u curiod | grep -F "$2" >/dev/null
}
# A picture whose bytes are already there is a duplicate, and not taken twice.
distinct() { find "$@" -name '*.jpg' -exec sha256sum {} + | cut -c1-64 | sort -u | wc -l; } # FOLDER...
now() { journalctl --no-pager --lines=0 --show-cursor | sed -n 's/^-- cursor: //p'; }

quietly apt-get install --yes ./first.deb
quietly systemctl start curiod
[ "$(property Type) $(property NRestarts) $(stat -c %U /proc/"$(main_pid)")" = "notify 0 curiod" ]
[ "$(systemctl is-enabled curiod)" = enabled ]
answers >/dev/null
ok "apt installed the package; the service is enabled, ready, runs as curiod and answers"

quietly systemd-analyze verify --man=no curiod.service
[ ! -s output ] || { cat output; failed "systemd-analyze verify has complaints"; }
quietly systemd-analyze security --offline=true --threshold=16 /usr/lib/systemd/system/curiod.service
ok "systemd-analyze has no complaint; $(tail -1 output | grep -o 'exposure level.*[0-9]')"
mkdir -p "$DROP_INS"
cp /usr/share/doc/curiod/examples/*.conf "$DROP_INS"
quietly systemd-analyze verify --man=no curiod.service
[ ! -s output ] || { cat output; failed "systemd-analyze verify has complaints about the example drop-ins"; }
rm "$DROP_INS"/*.conf
ok "nor about the service with the drop-ins for a GPU, another inbox and the network"

cp trash/*.jpg "$INBOX"
first=$(distinct trash)
until_true 60 "all $first pictures are taken" is sources_accepted "$first"
ok "$first pictures were put into $INBOX, and taken"
until_true 400 "a model is published and all $first pictures are searchable" all_searchable "$first"
query=$(find trash -name '*.jpg' | sort | head -1)
curiod search --file "$query" --k 3 >output
[ "$(wc -l <output)" -ge 3 ]
curiod novelty --file "$query" >/dev/null
ok "generation $(number generation) is published, and a search finds pictures"

[ "$(stat -c '%a %U %G' /run/curiod/curiod.sock)" = "660 curiod curiod" ]
curiod keys new --name reader --scope read --file /etc/curiod/keys >reader.key 2>/dev/null
chmod 600 reader.key
printf '[Service]\nLoadCredential=keys:/etc/curiod/keys\nEnvironment=CURIOD__SERVER__KEYS_FILE=%%d/keys\n' >"$DROP_INS/keys.conf"
systemctl daemon-reload
quietly systemctl restart curiod
answers >/dev/null
if curiod status --url http://127.0.0.1:8642 >/dev/null 2>&1; then failed "it answered without a key"; fi
curiod status --url http://127.0.0.1:8642 --key-file reader.key >/dev/null
rm "$DROP_INS/keys.conf" /etc/curiod/keys
systemctl daemon-reload
quietly systemctl restart curiod
# These starts are no failures.
systemctl reset-failed curiod
ok "with keys from systemd's credentials it asks for one; the socket is its group's"

pid=$(main_pid) cursor=$(now)
sed -i 's/^settle_ms = 500/settle_ms = 400/' "$CONFIG"
quietly systemctl reload curiod
until_true 60 "the log tells of the reload" said "$cursor" "took over the configuration"
cp "$CONFIG" good.toml
echo 'nonsense = true' >>"$CONFIG"
sed -i '1i nonsense = true' "$CONFIG"
quietly systemctl reload curiod
until_true 60 "the log tells of the refused reload" said "$cursor" "kept the running configuration"
cp good.toml "$CONFIG"
until_true 60 "it answers" answers
[ "$(main_pid)" = "$pid" ] && [ "$(property ActiveState)" = active ]
ok "a reload is taken over and a broken configuration refused, in the same process"

for file in microscope/*.jpg; do cp "$file" "$INBOX"; sleep 0.03; done &
copying=$!
until_true 60 "it takes some of them" more_than "$first"
kill -9 "$pid"
[ "$(find "$INBOX" -type f | wc -l)" -lt "$(find trash microscope -type f | wc -l)" ] || failed "it took them all too soon"
wait "$copying"
until_true 60 "another process is ready" another_process "$pid"
until_true 60 "it answers" answers
all=$(distinct trash microscope)
until_true 120 "all $all pictures are taken and searchable" all_searchable "$all"
ok "killed while it took files: restarted, and all $all pictures are there, each once"

printf '[Service]\nWatchdogSec=10\n' >"$DROP_INS/short-watchdog.conf"
systemctl daemon-reload
quietly systemctl restart curiod
restarts=$(property NRestarts) pid=$(main_pid)
sleep 45
[ "$(property NRestarts) $(main_pid)" = "$restarts $pid" ] || failed "the watchdog missed a beat of a daemon at work"
ok "a watchdog of 10 s hears every beat for 45 s of learning"
cursor=$(now)
kill -STOP "$pid"
until_true 90 "the watchdog has it restarted" another_process "$pid"
journalctl --no-pager --after-cursor="$cursor" | grep -F "Watchdog timeout" >/dev/null
until_true 120 "all $all pictures are searchable" all_searchable "$all"
ok "stopped in its tracks (SIGSTOP): the watchdog had it restarted, and all $all pictures are there"
rm "$DROP_INS/short-watchdog.conf"
systemctl daemon-reload

quietly systemctl stop curiod
sed -i '1i nonsense = true' "$CONFIG"
if systemctl start curiod 2>/dev/null; then failed "it started with a broken configuration"; fi
sleep 8
[ "$(property ExecMainStatus) $(property ActiveState) $(property NRestarts)" = "78 failed 0" ]
cp good.toml "$CONFIG"
quietly systemctl start curiod
ok "a broken configuration ends it with 78, without a restart; mended, it starts"

sed 's/^after = "leave"/after = "move"/' good.toml >"$CONFIG"
grep -q '^after = "move"' "$CONFIG"
quietly systemctl restart curiod
until_true 60 "it answers" answers
convert=$INBOX/once-more.jpg
{ cat "$query"; echo; } >"$convert"
until_true 60 "a file is moved out of the inbox" test ! -e "$convert"
cp good.toml "$CONFIG"
all=$((all + 1))
until_true 120 "all $all pictures are searchable" all_searchable "$all"
ok 'with after = "move" it takes files out of the default inbox'

pid=$(main_pid)
quietly apt-get install --yes ./second.deb
[ "$(dpkg-query -W -f '${Version}' curiod | grep -o '+upgraded')" = +upgraded ]
cmp -s good.toml "$CONFIG"
another_process "$pid"
until_true 60 "it answers" answers
until_true 120 "all $all pictures are searchable" all_searchable "$all"
ok "upgraded in place: restarted, the edited configuration kept, all $all pictures there"

sleep 10
touch stopped-at
quietly systemctl stop curiod
[ "$(property Result) $(property ExecMainStatus)" = "success 0" ]
[ -n "$(find "$STATE"/streams/*/checkpoints -mindepth 1 -maxdepth 1 -newer stopped-at)" ]
ok "a stop ends with 0 and writes a checkpoint"

quietly systemctl start curiod
pid=$(main_pid)
quietly apt-get remove --yes curiod
[ ! -e /proc/"$pid" ] && [ ! -e /usr/bin/curiod ] && [ -e "$CONFIG" ]
quietly apt-get purge --yes curiod
grep -qF "$STATE" output
[ ! -e "$CONFIG" ] && [ -d "$STATE/streams" ]
[ "$(systemctl is-enabled curiod 2>/dev/null || true)" != enabled ]
ok "removal stops it; a purge leaves what it has learnt, and says where"

quietly apt-get install --yes ./first.deb
quietly systemctl start curiod
until_true 120 "all $all pictures are searchable" all_searchable "$all"
CURIOD_PURGE_DATA=1 quietly apt-get purge --yes curiod
[ ! -e "$STATE" ] && [ -d "$INBOX" ] && [ -n "$(ls "$INBOX" "$(dirname "$INBOX")")" ]
ok "installed again, it knows all it knew; CURIOD_PURGE_DATA=1 removes what it has learnt"

journalctl --no-pager --output=cat --priority=err _UID="$(id -u curiod)" >errors
refused=("kept the running configuration" "failed to run the daemon")
for message in "${refused[@]}"; do
  grep -qF "$message" errors || failed "its log does not tell of \"$message\""
done
grep -vF "$(printf '%s\n' "${refused[@]}")" errors >output || true
[ ! -s output ] || { cat output; failed "its log tells of errors"; }
ok "its log tells of no error but the refused reload and start"
echo passed >result
