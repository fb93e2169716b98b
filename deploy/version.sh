#!/usr/bin/env bash
# version.sh version|commit|date: the version (without the v), the commit and
# the commit's time (as SOURCE_DATE_EPOCH has it) of what is built here.
#
# The version is the one that the go command gives a commit: that of its tag, or
# a pseudo-version (https://go.dev/ref/mod#pseudo-versions), with +dirty where
# the work tree was changed. So it is the same however the binary was built.
set -euo pipefail
cd -P "$(dirname "$0")/.."

# `git archive` fills it in, as an archive has no history.
archive='$Format:%ct %H %(describe:tags=true,match=v[0-9]*)$'

dirty=''
if [ "${archive#\$}" = "$archive" ]; then
	read -r date commit tag <<<"$archive"
	exact=1
	if [[ $tag =~ ^(.*)-[0-9]+-g[0-9a-f]+$ ]]; then
		tag=${BASH_REMATCH[1]} exact=''
	fi
elif [ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$PWD" ]; then
	read -r date commit < <(git show --no-patch --format='%ct %H' HEAD)
	newest=(git -c versionsort.suffix=- tag --list 'v[0-9]*.[0-9]*.[0-9]*' --sort=-version:refname)
	exact=$("${newest[@]}" --points-at HEAD | sed -n 1p)
	tag=${exact:-$("${newest[@]}" --merged HEAD | sed -n 1p)}
	[ -z "$(git status --porcelain)" ] || dirty=+dirty
else
	echo "version.sh: neither a clone nor an archive of the repository: give VERSION, COMMIT and SOURCE_DATE_EPOCH" >&2
	exit 1
fi

# pseudo prints the version of a commit after a tag.
pseudo() {
	local stamp
	stamp=$(date -u -d "@$date" +%Y%m%d%H%M%S)-${commit:0:12}
	case $tag in
	'') echo "0.0.0-$stamp" ;;
	*-*) echo "${tag#v}.0.$stamp" ;;
	*) echo "$(sed -E 's/^v//; s/[0-9]+$//' <<<"$tag")$((${tag##*.} + 1))-0.$stamp" ;;
	esac
}

case ${1-} in
version)
	if [ -n "$exact" ] && [ -n "$tag" ]; then
		echo "${tag#v}$dirty"
	else
		echo "$(pseudo)$dirty"
	fi
	;;
commit) echo "$commit" ;;
date) echo "$date" ;;
*)
	echo "usage: version.sh version|commit|date" >&2
	exit 2
	;;
esac
