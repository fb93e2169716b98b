#!/bin/sh
# deb says remove or upgrade, rpm the number of versions that stay.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now keepscope.service
	elif command -v systemctl >/dev/null; then
		systemctl disable keepscope.service # only its links, as in an image that isn't running
	fi
	;;
esac
