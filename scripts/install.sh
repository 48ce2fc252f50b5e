#!/usr/bin/env bash
# Installs the built binary, the libtorch it runs with, the service, an example configuration, man pages and completions.
#   scripts/install.sh BINARY PREFIX        PREFIX is /usr/local, or a package's staging folder
set -euo pipefail

binary=$1
prefix=$2
root=$(cd "$(dirname "$0")/.." && pwd)
libtorch=$(readlink -f "${LIBTORCH:-$root/.libtorch}")

install -D -m 755 "$binary" "$prefix/bin/curiod"
# The binary becomes the engine, which finds libtorch in its own folder.
install -D -m 755 "$(dirname "$binary")/curiod-engine" "$prefix/lib/curiod/curiod-engine"
for library in libtorch_cpu.so libtorch.so libc10.so libgomp.so.1 libcudart.so.13 libcupti.so.13; do
  [ ! -e "$libtorch/lib/$library" ] || install -m 644 "$libtorch/lib/$library" "$prefix/lib/curiod/$library"
done
install -D -m 644 "$root/config/curiod.toml" "$prefix/share/doc/curiod/curiod.toml"
sed "s|/usr/local/bin/curiod|$prefix/bin/curiod|" "$root/systemd/curiod.service" |
  install -D -m 644 /dev/stdin "$prefix/lib/systemd/system/curiod.service"
install -D -m 644 "$root/systemd/curiod.sysusers" "$prefix/lib/sysusers.d/curiod.conf"
"$binary" man --dir "$prefix/share/man/man1"
install -d "$prefix/share/bash-completion/completions" "$prefix/share/zsh/site-functions" "$prefix/share/fish/vendor_completions.d"
"$binary" completions bash >"$prefix/share/bash-completion/completions/curiod"
"$binary" completions zsh >"$prefix/share/zsh/site-functions/_curiod"
"$binary" completions fish >"$prefix/share/fish/vendor_completions.d/curiod.fish"
echo "installed $prefix/bin/curiod"
