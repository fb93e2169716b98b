#!/usr/bin/env bash
# packages.sh [PROGRAM...]: installs the Debian packages that building and testing
# images and packages needs, and those of the programs, where what they bring is
# missing.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
PATH=$PATH:/usr/sbin:/sbin
need buildah buildah
need runc runc
need dpkg-source dpkg-dev
need flex flex
need bison bison
need setcap libcap2-bin
need rpm rpm
for program; do need "$program" "$program"; done
need promtool prometheus
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
[ -e /usr/aarch64-linux-gnu/lib/libc.a ] || missing+=(libc6-dev-arm64-cross)
[ ${#missing[@]} -gt 0 ] || exit 0
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
echo "installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
