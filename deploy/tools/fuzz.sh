#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given, one after another.
# A finding stops it; the input is then under the package's testdata/fuzz. What is
# merely new is made smaller by 100 runs at most: the default is a minute each.
set -euo pipefail

time=$1
said=$(mktemp)
trap 'rm -f "$said"' EXIT
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		go test -toolexec "$PWD/deploy/tools/instrument.sh" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x "$package" | tee "$said" ||
			grep -q '^ *context deadline exceeded$' "$said" # the engine's own, now and then, when time is up
	done
done
