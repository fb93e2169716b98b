#!/usr/bin/env bash
# release.sh VERSION COMMIT DIR ARCH...: what a release consists of, of what
# `make static-ARCH manual` built, in the directory DIR, which is made when all
# is there. With SIGNING_KEY, a key of gpg's, its list of checksums is signed.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$1 commit=$2 dir=$3 arches=("${@:4}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
out=$tmp/release
mkdir "$out"
[[ $version != *+dirty ]] || {
	echo "release.sh: the work tree has changes that are not committed" >&2
	exit 1
}
if [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] && ! { grep -q "^appVersion: $version\$" deploy/helm/keepscope/Chart.yaml && grep -q "^## $version\$" CHANGELOG.md; }; then
	echo "release.sh: the manifests or CHANGELOG.md do not name $version: deploy/package/name.sh does, and the tag comes after it" >&2
	exit 1
fi
[ ! -e "$dir" ] || {
	echo "release.sh: $dir is there" >&2
	exit 1
}

# archive FILE DIR: packs the directory's entries so that nothing of this machine
# is in it.
archive() {
	(cd "$2" && LC_ALL=C tar --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
		--mode='u=rwX,go=rX' -cf - -- *) >"$1"
}

for arch in "${arches[@]}"; do
	name=keepscope_${version}_linux_$arch
	mkdir -p "$tmp/$arch/$name/completions" "$tmp/$arch/$name/systemd"
	cp "build/package/$arch/keepscope" build/package/manual/keepscope.1.gz LICENSE deploy/NOTICE CHANGELOG.md "$tmp/$arch/$name/"
	cp build/package/manual/{keepscope.bash,_keepscope,keepscope.fish} "$tmp/$arch/$name/completions/"
	cp deploy/systemd/* "$tmp/$arch/$name/systemd/"
	archive "$tmp/$name.tar" "$tmp/$arch"
	gzip -9n <"$tmp/$name.tar" >"$out/$name.tar.gz"
	cp "build/package/$arch/keepscope.cdx.json" "$out/$name.cdx.json"
	deploy/package/package.sh "$arch" "$version" "$out/" deb rpm
done

# Helm checks the chart and sets its versions, but gives its files the time of day.
mkdir "$tmp/chart"
build/tools/helm package deploy/helm/keepscope --version "$version" --app-version "$version" -d "$tmp" >&2
tar -xzf "$tmp/keepscope-$version.tgz" -C "$tmp/chart"
archive "$tmp/chart.tar" "$tmp/chart"
gzip -9n <"$tmp/chart.tar" >"$out/keepscope-$version.tgz"

# An image's tag can't have the + of a changed work tree.
image=keepscope/keepscope:${version//+/-}
export BUILDAH="${BUILDAH:-buildah --storage-driver vfs} --root $tmp/store --runroot $tmp/run"
deploy/package/image.sh "$version" "$commit" "$image" "${arches[@]}" >&2
push=(push)
[ ${#arches[@]} -eq 1 ] || push=(manifest push --all)
# shellcheck disable=SC2086
$BUILDAH "${push[@]}" "$image" "oci:$tmp/image:${version//+/-}" >&2
archive "$out/keepscope_${version}_image.tar" "$tmp/image"

(
	cd "$out"
	LC_ALL=C sha256sum -- * >"$tmp/SHA256SUMS"
	mv "$tmp/SHA256SUMS" .
	if [ -n "${SIGNING_KEY:-}" ]; then
		gpg --batch --yes --armor --local-user "$SIGNING_KEY" --detach-sign SHA256SUMS
	fi
)
mkdir -p "$(dirname "$dir")"
mv "$out" "$dir"
