#!/usr/bin/env bash
# notice.sh OUT: writes the notices of all that is linked into the program: Go,
# each module that its packages come from, libpcap and, into the static binary of
# the image and the packages, glibc. A text that several have is there once.
set -euo pipefail

out=$(realpath -m "$1")
cd "$(dirname "$0")/../.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# note NAME FILE: adds a text under its checksum, and the name to those that have it.
note() {
	local sum
	sum=$(tr -d '\r' <"$2" | sed 's/[[:space:]]*$//' | sha256sum | cut -d' ' -f1)
	tr -d '\r' <"$2" | sed 's/[[:space:]]*$//' >"$tmp/$sum.text"
	echo "$1" >>"$tmp/$sum.names"
}

note "Go" "$(go env GOROOT)/LICENSE"
GOOS=linux GOARCH=amd64 CGO_ENABLED=1 go list -deps -tags netgo,osusergo \
	-f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/keepscope |
	LC_ALL=C sort -u >"$tmp/modules"
while read -r path version dir; do
	found=0
	for file in "$dir"/LICENSE* "$dir"/LICENCE* "$dir"/COPYING* "$dir"/NOTICE* "$dir"/License*; do
		[ -f "$file" ] || continue
		note "$path $version" "$file"
		found=1
	done
	[ $found -eq 1 ] || {
		echo "notice.sh: $path $version has no licence file" >&2
		exit 1
	}
done <"$tmp/modules"
note "libpcap" deploy/notices/libpcap.txt
note "glibc (in the static binary; deploy/image/static.sh links it anew with another)" deploy/notices/glibc.txt
note "glibc, the licence that its notice names" deploy/notices/LGPL-2.1.txt

{
	echo "Keepscope is under the Apache License 2.0, which is in the file LICENSE. The program"
	echo "contains the following, under the terms that follow each list of names."
	# In the order of the first name of each.
	for f in "$tmp"/*.names; do echo "$(head -1 "$f" | tr ' ' '_') $f"; done | LC_ALL=C sort | cut -d' ' -f2 | while read -r names; do
		printf '\n%s\n' "================================================================================"
		LC_ALL=C sort -u "$names" | sed 's/^/  /'
		printf '%s\n\n' "--------------------------------------------------------------------------------"
		cat "${names%.names}.text"
	done
} >"$tmp/notice"
mv "$tmp/notice" "$out"
