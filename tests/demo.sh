#!/bin/bash
# Usage: tests/demo.sh PACKAGE.deb…   (as root)
# Install the packages, show it at work against a CA on this machine, and tidy up.
set -euo pipefail
mapfile -t debs < <(realpath "$@")
cd "$(dirname "$0")/.."
before=$(dpkg-query -W -f '${db:Status-Status}' letsencrypt-tiny 2>/dev/null || true)

tidy() {
    if [ "$before" != installed ]; then
        dpkg --purge letsencrypt-tiny letsencrypt-tiny-accountd >/dev/null
        echo "The packages are removed again."
    fi
}
trap tidy EXIT
export DEBIAN_FRONTEND=noninteractive
apt-get -q -q -y --no-install-recommends --no-remove --reinstall --allow-downgrades \
    -o Dpkg::Options::=--force-confold install "${debs[@]}" >/dev/null
/usr/bin/python3 -B tests/demo.py
