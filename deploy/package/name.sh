#!/usr/bin/env bash
# name.sh VERSION: has the manifests, the chart, the compose file and the words
# on them name VERSION in place of the one before, and begins its section of
# CHANGELOG.md: the last commit before its tag.
set -euo pipefail
cd "$(dirname "$0")/../.."
[[ ${1-} =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || {
	echo "usage: name.sh VERSION, as 1.2.3" >&2
	exit 2
}
before=$(sed -n 's/^appVersion: //p' deploy/helm/keepscope/Chart.yaml)
# With the words that stand before it, as others have versions, too.
{ echo README.md && find deploy -name '*.yaml' -o -name README.md; } | xargs sed -i -E \
	"s/(keepscope:|[?]ref=v|keepscope[_-]|\/version: \"|[vV]ersion: |tag v|keepscope@v)${before//./\\.}/\1$1/g"
sed -i "0,/^## Unreleased/s//## Unreleased\n\n## $1/" CHANGELOG.md
