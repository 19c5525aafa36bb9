#!/bin/bash
# Usage: tests/demo.sh PACKAGE.deb   (as root)
# Install the package, show it at work against a CA on this machine, and tidy up.
set -euo pipefail
deb=$(realpath "$1")
cd "$(dirname "$0")/.."
before=$(dpkg-query -W -f '${db:Status-Status}' letsencrypt-tiny 2>/dev/null || true)

tidy() {
    if [ "$before" != installed ]; then
        dpkg --purge letsencrypt-tiny >/dev/null
        echo "The package is removed again."
    fi
}
trap tidy EXIT
export DEBIAN_FRONTEND=noninteractive
apt-get -q -q -y --no-install-recommends --no-remove --reinstall --allow-downgrades \
    -o Dpkg::Options::=--force-confold install "$deb" >/dev/null
/usr/bin/python3 -B tests/demo.py
