#!/bin/bash
# Usage: tests/demo.sh VERSION SVG PACKAGE…   (as root; “make demo” calls it)
# Install the Debian packages that are missing, build ours, install it, show it at work against a
# CA on this machine, and tidy up.  SVG is the file for the picture, or empty.
# What commands say goes to a log, which stays where something fails.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1 svg=$2
shift 2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp --tmpdir letsencrypt-tiny-demo-XXXXXXXXXX.log)
child='' patient='' packages=()
declare -A before

alive='' utf8='' green='' red='' dim='' off=''
[ ! -t 1 ] || [ "${TERM:-dumb}" = dumb ] || alive=yes
case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in *[uU][tT][fF]8|*[uU][tT][fF]-8) utf8=yes ;; esac
if [ "$alive" ] && [ -z "${NO_COLOR:-}" ]; then
    green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' off=$'\e[0m'
fi
turns=(- '\' '|' /) good='*' bad=X
[ -z "$utf8" ] || turns=(⠋ ⠙ ⠹ ⠸ ⠼ ⠴ ⠦ ⠧ ⠇ ⠏) good=✔ bad=✗

tidy() {
    local status=$? package purge=() remove=()
    trap '' INT TERM HUP
    if [ "$child" ]; then  # dpkg is never left halfway
        [ "$patient" ] || kill -- "-$child" 2>/dev/null || true
        wait "$child" || true
        [ -z "$alive" ] || echo
    fi
    for package in "${packages[@]}"; do
        case ${before[$package]} in
            installed) ;;
            config-files) remove+=("$package") ;;
            *) purge+=("$package") ;;
        esac
    done
    [ ${#remove[@]} -eq 0 ] || dpkg --remove "${remove[@]}" >>"$log" 2>&1 || status=1
    [ ${#purge[@]} -eq 0 ] || dpkg --purge "${purge[@]}" >>"$log" 2>&1 || status=1
    if [ "$status" -eq 0 ]; then
        rm -f "$log"
        [ ${#remove[@]}${#purge[@]} = 00 ] ||
            printf '\n %s%s\n' "$dim" "What was installed of letsencrypt-tiny is removed again.$off"
    elif [ "$status" -gt 128 ]; then
        rm -f "$log"
        echo "demo: interrupted" >&2
    else
        echo "demo: what was said is in $log" >&2
    fi
    exit "$status"
}
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# step NAME COMMAND…: run it, with a line that lives on a terminal; its end ends all
step() {
    local name=$1 began=${EPOCHREALTIME/[.,]/} number=0 status=0 note
    shift
    echo "+ $*" >>"$log"
    setsid "$@" >>"$log" 2>&1 </dev/null &
    child=$!
    while [ "$alive" ] && kill -0 "$child" 2>/dev/null; do
        if [ $((number % 3)) -eq 0 ]; then
            note=$(tail -n 1 "$log" | tr -cd '[:print:]' | cut -c 1-24)
        fi
        printf '\r\e[K  %s %-40s%s  %s' "${turns[number++ % ${#turns[@]}]}" "$name" \
            "$(seconds "$began")" "$dim$note$off"
        sleep 0.1
    done
    wait "$child" || status=$?
    child=''
    [ -z "$alive" ] || printf '\r\e[K'
    if [ "$status" -ne 0 ]; then
        printf '  %s %-40s%s\n\n' "$red$bad$off" "$name" "$(seconds "$began")"
        tail -n 20 "$log" >&2
        echo "demo: $name failed with status $status" >&2
        exit 1
    fi
    printf '  %s %-40s%s\n' "$green$good$off" "$name" "$dim$(seconds "$began")$off"
}

seconds() {  # seconds SINCE: in six columns, from microseconds
    local tenths=$(( (${EPOCHREALTIME/[.,]/} - $1) / 100000 ))
    printf '%4d.%d s' $((tenths / 10)) $((tenths % 10))
}

user=()  # who called sudo: what is built is theirs
if [ "${SUDO_UID:-0}" != 0 ]; then
    user=(setpriv "--reuid=$SUDO_UID" "--regid=$SUDO_GID" --clear-groups --)
fi
patient=yes
step "installing Debian packages" tests/setup.sh "$@"
patient=''
step "building letsencrypt-tiny $version" "${user[@]}" make deb
debs=()
for deb in build/letsencrypt-tiny*_"${version}"_all.deb; do
    package=$(dpkg-deb -f "$deb" Package)
    before[$package]=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    debs+=("./$deb")
    packages+=("$package")
done
patient=yes
step "installing letsencrypt-tiny" apt-get -q -y --no-install-recommends --no-remove --reinstall \
    --allow-downgrades -o Dpkg::Options::=--force-confold install "${debs[@]}"
patient=''
/usr/bin/python3 -B tests/demo.py --log="$log" ${svg:+--svg="$svg"}
if [ "$svg" ] && [ ${#user[@]} -gt 0 ]; then
    chown "$SUDO_UID:$SUDO_GID" "$svg"
fi
