#!/usr/bin/env bash
# static.sh ARCH OUT [VERSION [COMMIT]]: builds OUT, keepscope for Linux on ARCH
# (amd64 or arm64), as one static binary. static.sh ARCH --libraries lists the C
# libraries in it, as name=version.
#
# Debian's libpcap.a needs D-Bus and with it systemd, of which there is no static
# library. So libpcap is built from Debian's source package, with what capturing
# on network interfaces takes and nothing else. It is kept in LIBPCAP_CACHE
# (build/libpcap), so that only the first build takes it from the mirror.
#
# The same source, Go, gcc and glibc give the same bytes in any directory: no path
# is in them, and no build ID of Go's, which depends on where libpcap.a is.
set -euo pipefail

arch=$1 out=$2 version=${3:-} commit=${4:-}
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$(realpath -m "${LIBPCAP_CACHE:-$root/build/libpcap}")

case $arch in
amd64) triple=x86_64-linux-gnu ;;
arm64) triple=aarch64-linux-gnu ;;
*)
	echo "static.sh: no such architecture: $arch (amd64 or arm64)" >&2
	exit 2
	;;
esac
cc=$triple-gcc
libpcap_source=libpcap_1.10.3.orig.tar.gz
libpcap_sum=2a8885c403516cf7b0933ed4b14d6caa30e02052489ebd414dc75ac52e7559e6
if [ "$out" = --libraries ]; then
	[[ $libpcap_source =~ _(.*)\.orig ]] && echo "libpcap=${BASH_REMATCH[1]}"
	echo '#include <features.h>
glibc=__GLIBC__.__GLIBC_MINOR__' | "$cc" -E -P - | tr -d ' ' | grep '^glibc='
	exit
fi
out=$(realpath -m "$out")
for program in "$cc" dpkg-source make flex bison; do
	command -v "$program" >/dev/null || {
		echo "static.sh: $program is missing: install $(
			case $program in
			*-gcc) echo "gcc-${triple//_/-} libc6-dev" ;;
			dpkg-source) echo dpkg-dev ;;
			*) echo "$program" ;;
			esac
		)" >&2
		exit 1
	}
done

# source_package takes the source from where the machine takes its packages,
# verified as those are, without changing the machine's lists.
source_package() {
	local lists=$1/lists
	mkdir -p "$lists/partial" "$1/source"
	if [ -e /etc/apt/sources.list.d/debian.sources ]; then
		sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$1/debian.sources"
	else
		sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$1/debian.list"
	fi
	local apt=(apt-get -qq -o "Dir::State::lists=$lists" -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$1"
		-o APT::Get::List-Cleanup=0 -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache= -o APT::Sandbox::User=root)
	"${apt[@]}" update
	(cd "$1/source" && "${apt[@]}" --download-only source libpcap)
	# apt has checked all files by the archive's signature; the sources that
	# upstream wrote are those that were looked at when this was written.
	(cd "$1/source" && echo "$libpcap_sum  $libpcap_source" | sha256sum --check --quiet) || {
		echo "static.sh: Debian's libpcap is not $libpcap_source as known here: look at what is new, and name it" >&2
		return 1
	}
	dpkg-source -x "$1"/source/libpcap_*.dsc "$1/libpcap" >/dev/null
}

build_libpcap() {
	local tmp
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' RETURN
	source_package "$tmp"
	(
		cd "$tmp/libpcap"
		CC=$cc CFLAGS='-O2 -fPIC' ./configure --quiet --host="$triple" --prefix=/ --with-pcap=linux --without-libnl \
			--disable-shared --disable-usb --disable-bluetooth --disable-dbus --disable-rdma --disable-netmap
		make --silent -j"$(nproc)" libpcap.a
		mkdir -p "$cache/$arch.new/lib" "$cache/$arch.new/include"
		cp libpcap.a "$cache/$arch.new/lib/"
		cp -r pcap.h pcap-bpf.h pcap-namedb.h pcap "$cache/$arch.new/include/"
	)
	mv "$cache/$arch.new" "$cache/$arch"
}

mkdir -p "$cache"
(
	flock 9
	[ -e "$cache/$arch/lib/libpcap.a" ] || {
		rm -rf "$cache/$arch.new" "$cache/$arch"
		build_libpcap >&2
	}
) 9>"$cache/lock"

# netgo and osusergo: names are looked up without libc, which can't do so in an
# image that has no shared libraries.
cd "$root"
CGO_ENABLED=1 GOOS=linux GOARCH=$arch CC=$cc \
	CGO_CFLAGS="-O2 -I$cache/$arch/include" CGO_LDFLAGS="-L$cache/$arch/lib" \
	go build -trimpath -buildvcs=false -tags netgo,osusergo \
	-ldflags "-s -w -buildid= -linkmode external -extldflags -static -X main.version=$version -X main.commit=$commit" \
	-o "$out" ./cmd/keepscope
