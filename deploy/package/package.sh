#!/usr/bin/env bash
# package.sh ARCH VERSION DIR FORMAT...: makes the packages of the formats deb and
# rpm in DIR, of what `make static-ARCH manual` built.
set -euo pipefail
cd "$(dirname "$0")/../.."
export ARCH=$1 VERSION=$2
for format in "${@:4}"; do
	build/tools/nfpm package -f deploy/package/nfpm.yaml -p "$format" -t "$3"
done
