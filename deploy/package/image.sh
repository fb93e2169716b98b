#!/usr/bin/env bash
# image.sh VERSION COMMIT NAME ARCH...: builds the image NAME by BUILDAH, one for
# all architectures, of what `make static-ARCH` built (as root, as the program has
# a file capability in it).
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$1 commit=$2 name=$3
read -ra buildah <<<"${BUILDAH:-buildah --storage-driver vfs}"
PATH=$PATH:/usr/sbin:/sbin

# One architecture's is an image, that of several a list of images.
as=(--tag "$name")
if [ $# -gt 4 ]; then
	as=(--manifest "$name")
	"${buildah[@]}" rmi "$name" >/dev/null 2>&1 || true
fi
for arch in "${@:4}"; do
	binary=build/package/$arch/image
	rm -rf "$binary"
	install -D -m 755 -t "$binary" "build/package/$arch/keepscope"
	install -m 644 -t "$binary" LICENSE deploy/NOTICE
	setcap cap_net_raw=ep "$binary/keepscope"
	"${buildah[@]}" build --isolation chroot --platform "linux/$arch" --timestamp "$SOURCE_DATE_EPOCH" -f deploy/Dockerfile \
		--build-arg "VERSION=$version" --build-arg "COMMIT=$commit" "${as[@]}" "$binary"
done
