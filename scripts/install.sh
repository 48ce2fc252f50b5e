#!/usr/bin/env bash
# Installs the built binaries, the libtorch they run with, the service, an example configuration, man pages, completions.
#   [DESTDIR=DIR] scripts/install.sh BINARY PREFIX        PREFIX is where it will run; DIR a staging folder before it
set -euo pipefail

binary=$1
prefix=$2
destination=${DESTDIR:-}$prefix
root=$(cd "$(dirname "$0")/.." && pwd)
libtorch=$(readlink -f "${LIBTORCH:-$root/.libtorch}")
documents=$destination/share/doc/curiod

# Copies a program, which from then on looks for libtorch in its own folder and not in that of whoever built it.
install_program() { # FROM TO
  install -D -m 755 "$1" "$2"
  python3 - "$2" <<'PY'
import re, sys

path = sys.argv[1]
with open(path, "rb") as file:
    program = file.read()
places = re.findall(rb"\0((?:/[^\0]*:)+\$ORIGIN)\0", program)
if len(places) != 1:
    sys.exit(f"error: {path} names {len(places)} folders of libraries, not one\nhint: build it again with make build")
with open(path, "wb") as file:
    file.write(program.replace(places[0], b"$ORIGIN".ljust(len(places[0]), b"\0")))
PY
}

install_program "$binary" "$destination/bin/curiod"
# The binary becomes the engine, which finds libtorch in its own folder.
install_program "$(dirname "$binary")/curiod-engine" "$destination/lib/curiod/curiod-engine"
for library in libtorch_cpu.so libtorch.so libc10.so libgomp.so.1 libcudart.so.13 libcupti.so.13; do
  [ ! -e "$libtorch/lib/$library" ] || install -m 644 "$libtorch/lib/$library" "$destination/lib/curiod/$library"
done

install -D -m 644 -t "$documents" "$root/config/curiod.toml" "$root/README.md" "$root"/LICENSE-*
install -D -m 644 -t "$documents/examples" "$root/systemd/gpu.conf" "$root/systemd/inbox.conf" \
  "$root/systemd/network.conf"
if [ -d "$libtorch/licences" ]; then install -D -m 644 -t "$documents/libtorch" "$libtorch"/licences/*; fi

install -d "$destination/lib/systemd/system"
sed "s|/usr/local/bin/curiod|$prefix/bin/curiod|" "$root/systemd/curiod.service" >"$destination/lib/systemd/system/curiod.service"
install -D -m 644 "$root/systemd/curiod.sysusers" "$destination/lib/sysusers.d/curiod.conf"
install -D -m 644 "$root/systemd/curiod.tmpfiles" "$destination/lib/tmpfiles.d/curiod.conf"

"$binary" man --dir "$destination/share/man/man1"
install -d "$destination/share/bash-completion/completions" "$destination/share/zsh/site-functions" \
  "$destination/share/fish/vendor_completions.d"
"$binary" completions bash >"$destination/share/bash-completion/completions/curiod"
"$binary" completions zsh >"$destination/share/zsh/site-functions/_curiod"
"$binary" completions fish >"$destination/share/fish/vendor_completions.d/curiod.fish"
echo "installed $destination/bin/curiod"
if [ -z "${DESTDIR:-}" ]; then
  cat <<END
To run it as a service, as root:
  systemd-sysusers && systemd-tmpfiles --create
  install -D -m 644 $documents/curiod.toml /etc/curiod/curiod.toml
  systemctl daemon-reload && systemctl enable --now curiod
END
fi
