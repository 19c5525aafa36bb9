#!/bin/sh
# Usage: tests/setup.sh [?]PACKAGE…
# Install those of the Debian packages that are missing; quick when there are none.
# One with a question mark is not in every release: what needs it can do without.
# Services that they bring are neither started nor enabled.
set -eu

missing=
maybe=
for package; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "${package#\?}" 2>/dev/null || true)
    case $status:$package in
        installed:*) ;;
        *:\?*) maybe="$maybe ${package#\?}" ;;
        *) missing="$missing $package" ;;
    esac
done
[ -n "$missing$maybe" ] || exit 0

root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}
[ -z "$missing" ] || root env DEBIAN_FRONTEND=noninteractive apt-get -q -q update
for package in $maybe; do
    ! apt-cache policy "$package" | grep -q '^  Candidate: [^(]' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"

# The tests start their own servers: what comes with a package stays off (Policy 9.3.3.1).
if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'root rm -f /usr/sbin/policy-rc.d' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' | root tee /usr/sbin/policy-rc.d >/dev/null
    root chmod 0755 /usr/sbin/policy-rc.d
fi
# shellcheck disable=SC2086  # a list of words
root env DEBIAN_FRONTEND=noninteractive apt-get -q -q -y --no-install-recommends install $missing
# These would start at the next boot.
for package in caddy:caddy haproxy:haproxy nginx:nginx openssh-server:ssh; do
    case "$missing " in *" ${package%:*} "*)
        ! command -v systemctl >/dev/null || root systemctl --quiet disable "${package#*:}" ;;
    esac
done
