#!/bin/sh
# manual.sh BINARY DIR: writes the manual page and the completions into DIR.
set -eu
mkdir -p "$2"
"$1" man | gzip -9n >"$2/keepscope.1.gz"
"$1" completion bash >"$2/keepscope.bash"
"$1" completion zsh >"$2/_keepscope"
"$1" completion fish >"$2/keepscope.fish"
