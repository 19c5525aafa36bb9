#!/bin/bash
# Usage: tests/check.sh [STAGE …]
# The test suite, the quick stages first: lint types unit integration package installed other.
# One more only if asked for: soak, what takes minutes of waiting.
# Goes on after a failure; ends with what failed, pytest's last words and status 1 then.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 2
export PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8
export PATH=/usr/sbin:/usr/bin:/sbin:/bin  # Debian's tools, whatever else is installed
python=/usr/bin/python3
stages=("$@")
[ $# -gt 0 ] || stages=(lint types unit integration package installed other)
failed=()
closing=()
declare -A running logs

root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -E "$@"; fi
}

# Many tests become another user, who can't enter a clone below /root, for instance
if [ "$(id -u)" -eq 0 ] && ! runuser -u nobody -- test -r "$PWD/setup.cfg"; then
    copy=$(mktemp -d /srv/letsencrypt-tiny-check-XXXXXXXXXX)
    trap 'rm -rf "$copy"' EXIT
    chmod 0755 "$copy"
    tar -c --exclude=./build --exclude=./.git . | tar -x -C "$copy"
    "$copy/tests/check.sh" "${stages[@]}"
    exit
fi

memory=$(root mktemp -d /srv/memory-XXXXXX) || exit 2
leave() {  # leave nothing behind, whatever happens
    root rmdir "$memory"
    [ ${#running[@]} -eq 0 ] || kill -- "${running[@]/#/-}" 2>/dev/null
    rm -f "${logs[@]}"
    [ -z "$compiled" ] || find letsencrypt_tiny tests -name __pycache__ -prune -exec rm -rf {} +
}
trap leave EXIT

# Most of what tests start imports from here: it is compiled once
compiled=
if [ -z "$(find letsencrypt_tiny tests -name __pycache__ -print -quit)" ]; then
    compiled=yes
    "$python" -m compileall -q letsencrypt_tiny tests/harness
fi

step() {  # step COMMAND…: run it; a failure is remembered
    echo "+ $*"
    "$@" || failed+=("$stage: $*")
}

# What is tried in the tree is held in memory, in a mount of its own, which takes a tenth less time;
# the soak, and what is tried as it is installed, have a disk.  So has all where no mount can be had.
# The root of a chroot may be no mount point; then nothing has to be made private there, as a rule.
in_memory() {
    root unshare --mount --propagation unchanged sh -c '
        { mount --make-rprivate / 2>/dev/null || ! grep -q " shared:" /proc/self/mountinfo; } &&
            mount -t tmpfs -o mode=0755 none "$0" && export TEST_PARENT="$0"
        exec "$@"' "$memory" "$@"
}

close() {  # close WHERE LINE: keep what pytest closed with for the end, and what of $out failed
    mapfile -t -O "${#closing[@]}" closing < <(
        grep -E '^(FAILED|ERROR) ' "$out" | head -n 20 | cut -c 1-300 | sed "s/^/$stage: /")
    closing+=("$1: $2")
    rm -f "$out"
}

tests() {  # tests PATH…: run pytest there, keep its last line
    local out where=root; out=$(mktemp)
    case $stage in unit*|integration*) where=in_memory ;; esac
    "$where" "$python" -m pytest -q "$@" 2>&1 | tee "$out"
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed+=("$stage: pytest $*")
    close "$stage" "$(tail -n 1 "$out")"
}

part() {  # part PATH…: the same, but for what is tried on the installed package
    local path paths=()
    for path; do
        [[ " ${INSTALLED_TESTS[*]} " = *" $path "* ]] || paths+=("$path")
    done
    tests "${paths[@]}"
}

# Runs of pytest have a network namespace each, and don't meet; much of any is waiting.  So the
# parts of integration run beside each other, as long as each other, and they are told of at the end.
beside() {  # beside STAGE…: start them, one after another
    logs[$1]=$(mktemp)
    setsid tests/check.sh "$@" >"${logs[$1]}" 2>&1 &
    running[$1]=$!
}

told() {  # told: wait for all that was started, and repeat what it said
    local each
    for each in "${!running[@]}"; do
        wait "${running[$each]}" || failed+=("$each")
        cat "${logs[$each]}"
        mapfile -t -O "${#closing[@]}" closing < <(
            sed -e '1,/^=== [0-9]* failed ===$/d' -e '/^failed: /d' "${logs[$each]}")
    done
    running=()
}

lint() {
    local sources shell
    sources=(letsencrypt_tiny tests)
    step pyflakes3 "${sources[@]}" programs/*
    step pycodestyle "${sources[@]}"
    step pycodestyle --ignore=E402 programs/*  # imports follow sys.path
    step mandoc -T lint -W warning man/*
    mapfile -t shell < <(grep -rlIE '^#! ?/bin/sh' tests debian examples .ci)
    step checkbashisms -f "${shell[@]}"
    for file in "${shell[@]}"; do step sh -n "$file"; done
    mapfile -t shell < <(grep -rlIE '^#! ?/bin/bash' tests debian .ci)
    for file in "${shell[@]}"; do step bash -n "$file"; done
    step units
}

units() {  # systemd's own opinion, where it is installed; nothing is started
    command -v systemd-analyze >/dev/null || return 0
    local dir file status=0; dir=$(mktemp -d)
    install -m 0644 debian/letsencrypt-tiny.service debian/letsencrypt-tiny.timer \
        debian/letsencrypt-tiny-accountd*.service debian/letsencrypt-tiny-accountd*.socket "$dir"
    install -m 0644 debian/letsencrypt-tiny.letsencrypt-tiny-failures.service \
        "$dir/letsencrypt-tiny-failures.service"
    # the programs and man pages need not be installed yet
    sed -i -e 's,^\(Exec[A-Za-z]*=-\?\)[^ ]*,\1/bin/true,' -e '/^Documentation=/d' "$dir"/*.service
    sed -i -e '/^Documentation=/d' "$dir"/*.timer "$dir"/*.socket
    systemd-analyze verify --man=no "$dir"/* || status=1
    rm -rf "$dir"
    return $status
}

types() {
    step mypy --config-file setup.cfg
}

package() {
    # Not in debian/*.lintian-overrides, as no one file suits every release's lintian:
    # - each knows the Policy version of its own release only;
    # - bookworm's wants an init script for the standalone signer, which later ones don't:
    #   renewals have cron where systemd doesn't run, and the standalone signer is an
    #   extra that any supervisor can start;
    # - sid's wants a newer debhelper than bookworm has, and calls redundant what bookworm's dpkg
    #   needs (Priority, Rules-Requires-Root);
    # - sid's wants a person's name, which is for whoever uploads it.
    local tag tags=newer-standards-version,out-of-date-standards-version
    for tag in package-supports-alternative-init-but-no-init.d-script no-human-maintainers \
            package-uses-old-debhelper-compat-version redundant-priority-optional-field \
            redundant-rules-requires-root-no-field; do
        [ -z "$(lintian-explain-tags $tag 2>/dev/null)" ] || tags+=,$tag
    done
    step make deb
    step lintian --pedantic --display-info --tag-display-limit 0 --suppress-tags "$tags" \
        --fail-on error,warning,info,pedantic build/*.changes
}

# What depends on the machine is tried on the package, as it is installed; the rest of these files
# in the tree.
INSTALLED_TESTS=(tests/integration/test_{environment,neighbours,privileges,readme,redteam}.py)
installed() {
    local before
    before=$(dpkg-query -W -f '${db:Status-Status}' letsencrypt-tiny 2>/dev/null || true)
    step root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends --no-remove \
        --reinstall --allow-downgrades -o Dpkg::Options::=--force-confold install ./build/*.deb
    beside installed-2
    INSTALLED=1 tests -m "not once" "${INSTALLED_TESTS[@]}"
    told
    [ "$before" = installed ] ||
        step root dpkg --purge letsencrypt-tiny letsencrypt-tiny-accountd
}

# Confinement depends on the versions of Python, libc, libseccomp and openssl, and the way to keys
# in tokens on the last: here are those of the other Debian release, in a chroot, on this machine's
# kernel.
OTHER_TESTS=(unit/test_confine.py unit/test_confine_modes.py unit/test_spawn.py unit/test_child.py
             integration/test_privileges.py
             integration/test_redteam.py
             integration/test_tokens.py integration/test_account_token.py)
other() {
    local release=trixie tokens=pkcs11-provider,p11-kit-modules mirror out
    if grep -qx VERSION_CODENAME=trixie /etc/os-release; then
        release=bookworm tokens=libengine-pkcs11-openssl
    fi
    mirror=$(tests/mirror.sh) || { failed+=("$stage: no mirror"); return; }
    out=$(mktemp)
    # shellcheck disable=SC2016  # for the hooks' shell
    root env TREE="$PWD" mmdebstrap --quiet --mode=root --variant=apt \
        --include=ca-certificates,make,openssl,passwd,python3-configobj,python3-pycryptodome \
        --include=python3-dnspython,python3-pytest,python3-seccomp,strace \
        --include="pebble,softhsm2,$tokens" \
        --customize-hook='mkdir "$1/srv/tree"' \
        --customize-hook='cd "$TREE" && tar -c --exclude=./build --exclude=./.git . |
            tar -x -C "$1/srv/tree"' \
        --customize-hook='chroot "$1" python3 -m compileall -q \
            /srv/tree/letsencrypt_tiny /srv/tree/tests/harness' \
        --customize-hook='chroot "$1" python3 -B -m pytest -q -m "not once" \
            '"${OTHER_TESTS[*]/#//srv/tree/tests/}" \
        "$release" /dev/null "$mirror" 2>&1 | tee "$out"
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed+=("$stage: pytest in a chroot of $release")
    close "$stage ($release)" \
        "$(grep -E ' (passed|failed|skipped|errors?)\b.* in ' "$out" | tail -n 1)"
}

among() { printf '%s\n' "${stages[@]}" | grep -xE "$1"; }  # among PATTERN: of the stages asked for

started=()
if [[ " ${stages[*]} " = *" integration "* ]]; then
    mapfile -t started < <(among 'unit|package|other')
    mapfile -t rest < <(among unit | sed s/$/-1/)
    beside "${rest[@]}" integration-5
    ! among unit >/dev/null || beside unit-2
    beside integration-2
    beside integration-3
    mapfile -t rest < <(among 'package|other')
    beside integration-4 "${rest[@]}"
fi
for stage in "${stages[@]}"; do
    [[ " ${started[*]:-} " != *" $stage "* ]] || continue
    [ "$stage" != installed ] || told  # its users are theirs
    printf '\n=== %s ===\n' "$stage"
    case $stage in
        lint|types|package|installed|other) "$stage" ;;
        unit) tests tests/unit ;;
        unit-1) tests tests/unit/test_[a-l]*.py ;;
        unit-2) tests tests/unit/test_[m-z]*.py ;;
        integration) part tests/integration/test_{[ab],c[!l],d[nu]}*.py ;;
        integration-2) part tests/integration/test_[e-k]*.py ;;
        integration-3) part tests/integration/test_{d[!nu],[p-z]}*.py ;;
        integration-4)
            part tests/integration/test_[l-o]*.py
            tests -m once "${INSTALLED_TESTS[@]}"
            ;;
        integration-5) part tests/integration/test_cl*.py ;;
        installed-2) INSTALLED=1 tests tests/installed ;;
        soak)
            tests tests/soak
            SOAK=yes tests tests/unit
            CONFINE=no SOAK=yes tests tests/integration
            ;;
        *) echo "no such stage: $stage" >&2; exit 2 ;;
    esac
done
told

printf '\n=== %s ===\n' "${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ] || printf 'failed: %s\n' "${failed[@]}"
[ ${#closing[@]} -eq 0 ] || printf '%s\n' "${closing[@]}"
[ ${#failed[@]} -eq 0 ]
