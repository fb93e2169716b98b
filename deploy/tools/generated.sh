#!/usr/bin/env bash
# Runs the generators and fails where they change the work tree. What was
# changed by hand before is left out of the comparison.
set -euo pipefail

state() {
	git diff --no-ext-diff
	git ls-files --others --exclude-standard -z | sort -z | xargs -0 -r sha256sum
}

before=$(state | sha256sum)
go generate ./...
if [ "$before" != "$(state | sha256sum)" ]; then
	git status --short >&2
	echo "generated files were out of date; go generate ./... has renewed them: commit them" >&2
	exit 1
fi
