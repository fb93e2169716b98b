#!/usr/bin/env bash
# packages.sh build|test: installs the Debian packages that building, or building
# and testing, needs, where what they bring is missing. Where nothing is missing
# it touches no network.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
missing=()

has_command() { command -v "$1" >/dev/null || missing+=("$2"); }

[ -e /usr/include/pcap.h ] || missing+=(libpcap-dev)
has_command gcc gcc
if [ "$1" = test ]; then
	has_command nginx nginx-light
	has_command ab apache2-utils
	has_command wrk wrk
	has_command curl curl
	has_command ip iproute2
	has_command sysctl procps
	has_command ethtool ethtool
	has_command haproxy haproxy
	has_command tcpdump tcpdump
	has_command tmux tmux
	has_command node nodejs
	has_command npm npm
	has_command chromium chromium
	has_command setcap libcap2-bin
	has_command promtool prometheus
	# What live tests of findings know by its own words.
	has_command apache2 apache2-bin
	has_command varnishd varnish
	has_command gunicorn gunicorn
	has_command uwsgi uwsgi-core
	has_command php php-cli
	has_command ruby ruby
	has_command javac openjdk-17-jdk-headless
	[ -e /usr/share/java/tomcat10-embed-core.jar ] || missing+=(libtomcat10-embed-java)
	[ -e /usr/lib/uwsgi/plugins/python3_plugin.so ] || missing+=(uwsgi-plugin-python3)
	for module in requests aiohttp httpx; do
		[ -e /usr/lib/python3/dist-packages/$module ] || missing+=(python3-$module)
	done
fi

[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "install these as root, then try again: ${missing[*]}" >&2
		exit 1
	}
	as_root=(sudo)
fi
command -v apt-get >/dev/null || {
	echo "this machine has no apt-get; install what these Debian packages hold: ${missing[*]}" >&2
	exit 1
}

# Servers are started by the tests that need them; a package must not start one.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
	"${as_root[@]}" chmod +x $policy
	trap '"${as_root[@]}" rm -f $policy' EXIT
fi
echo "installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
