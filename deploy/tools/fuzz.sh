#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given, one after another.
# A finding stops it; the input is then under the package's testdata/fuzz.
set -euo pipefail

time=$1
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
	done
done
