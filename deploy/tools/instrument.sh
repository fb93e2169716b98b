#!/usr/bin/env bash
# instrument.sh TOOL ARG...: how `go test -fuzz -toolexec` runs its tools, so that this
# module's packages alone count what they cover. The engine reads all counters after
# every run, and those of crypto/tls and net/http are ten times as many as ours.
set -euo pipefail

tool=$1
shift
if [[ $tool == */compile ]]; then
	if [[ $* == -V=full ]]; then # which names the results in the build cache
		echo "$("$tool" "$@") instrument.sh"
		exit
	fi
	if [[ " $* " != *" -p github.com/keepscope/"* ]]; then
		for arg; do
			shift
			[[ $arg == -d=libfuzzer ]] || set -- "$@" "$arg"
		done
	fi
fi
exec "$tool" "$@"
