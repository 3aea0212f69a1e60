#!/bin/bash
# Make sure of what drcm's development needs: programs (apt, where root) and a virtual environment in .venv.
# Silent when there is nothing to do. PYTHON=/path/to/python3.12 picks another Python.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# Debian package:what shows that it is there (a program, so that another distribution's package counts too)
NEEDED="rsync:rsync openssh-server:sshd openssh-client:ssh iproute2:ip nftables:nft iputils-ping:ping
        cron:cron faketime:faketime acl:setfacl attr:setfattr util-linux:nsenter procps:ps
        resource-agents:ocf-tester network-manager:nmcli dbus:dbus-daemon kmod:modprobe nginx:nginx sshfs:sshfs e2fsprogs:mkfs.ext4
        strace:strace fence-agents:fence_dummy systemd:systemctl"
STAMP=.venv/.installed

say() { echo "bootstrap: $*" >&2; }
fail() { say "$*"; exit 1; }

# quietly COMMAND...: its output only if it fails
quietly() {
    local output
    output=$("$@" 2>&1) || { echo "$output" >&2; fail "failed: $*"; }
}

# The first Python that is new enough and can make a virtual environment. "python3" may be anybody's.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 /usr/bin/python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

missing_packages() {
    local pair
    for pair in $NEEDED; do
        command -v "${pair#*:}" >/dev/null || echo "${pair%%:*}"
    done
    if [ -z "${PYTHON:-}" ] && [ ! -x .venv/bin/python ] && [ -z "$(find_python)" ]; then
        echo python3-venv  # brings python3 as well
    fi
}

# apt starts what it installs, and enables it for the next boot; we want the programs alone.
install_packages() {
    local policy=/usr/sbin/policy-rc.d package
    if [ ! -e "$policy" ]; then
        trap "rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get update -q -o DPkg::Lock::Timeout=120
    quietly apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
    for package in "$@"; do
        case $package in
            openssh-server) keep_off ssh ;;
            cron) keep_off cron ;;
            nftables) keep_off nftables ;;
            nginx) keep_off nginx ;;
            network-manager) keep_off NetworkManager ;;
            resource-agents) keep_off logd ;;  # of cluster-glue, which comes with it
        esac
    done
}

keep_off() {
    if command -v systemctl >/dev/null; then
        systemctl disable -q "$1.service" 2>/dev/null || true
    elif command -v update-rc.d >/dev/null; then
        update-rc.d "$1" disable >/dev/null 2>&1 || true
    fi
}

exec 9<tools/bootstrap.sh
flock 9  # two makes at once

missing=$(missing_packages | xargs)
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || fail "please install what Debian calls: $missing"
    [ "$(id -u)" = 0 ] || fail "missing: $missing. Run as root: apt-get install $missing"
    say "installing Debian packages: $missing"
    # shellcheck disable=SC2086  # a list of words
    install_packages $missing
fi

if ! .venv/bin/python -c '' 2>/dev/null; then
    python=$(find_python)
    [ -n "$python" ] || fail "no Python >= 3.11 with venv among: ${PYTHON:-python3, /usr/bin/python3}" \
        "($( ${PYTHON:-python3} --version 2>&1 || true)). Install one, or name it: make PYTHON=/path/to/python3.12"
    say "making .venv with $("$python" --version) ($(command -v "$python"))"
    rm -rf .venv
    quietly "$python" -m venv .venv
fi

if [ ! -e "$STAMP" ] || [ pyproject.toml -nt "$STAMP" ]; then
    say "installing drcm and its tools into .venv"
    quietly .venv/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]'
    touch "$STAMP"
fi
