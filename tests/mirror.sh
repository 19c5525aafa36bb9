#!/bin/sh
# Usage: tests/mirror.sh
# Print the URL of the Debian archive that this machine's own apt sources name; status 1 if none.
set -eu
# shellcheck disable=SC2016  # apt's variable, not the shell's
url=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
    'Label: Debian' | sort -u | head -n 1)
if [ -z "$url" ]; then
    echo "apt's sources on this machine name no archive of Debian (or apt-get update never ran)" >&2
    exit 1
fi
echo "$url"
