# What drcm's resource scripts share. Not a script: they read it.
set -u

me=${DRCM_CALLED_AS:-${0##*/}}

fail() { echo "$me: $*" >&2; exit 1; }

# find_interface "'ens192|eno8303'": sets device to the first that exists here, label to how it was written
find_interface() {
    local name
    local -a names
    IFS='|' read -r -a names <<<"${1//\'/}"
    for name in "${names[@]}"; do
        device=${name%%:*} label=$name
        ip link show dev "$device" >/dev/null 2>&1 && return 0
    done
    fail "no interface $1 on this node"
}

prefix_of() { # 255.255.255.0 -> 24
    case $1 in *.*) ;; *) echo "$1"; return ;; esac
    local bits=0 octet left
    local -a octets
    IFS=. read -r -a octets <<<"$1"
    for octet in "${octets[@]}"; do
        for ((left = octet; left > 0; left = (left << 1) & 255)); do bits=$((bits + 1)); done
    done
    echo "$bits"
}

present() { [ -n "$(ip -o address show dev "$device" to "$1")" ]; } # IP, on $device

# limited SECONDS COMMAND...: its exit code; 124: it was late and ended; 125: not even KILL ends it (it waits
# for a dead server in the kernel), and it is left alone. Never waits longer. timeout(1) would wait for ever.
limited() {
    local seconds=$1 timer code
    shift
    "$@" &
    limited_pid=$!
    sleep "$seconds" >/dev/null 2>&1 &
    timer=$!
    wait -n "$limited_pid" "$timer" 2>/dev/null
    if kill -0 "$limited_pid" 2>/dev/null; then
        end_process "$limited_pid" && code=124 || code=125
    else
        wait "$limited_pid"
        code=$?
    fi
    { kill "$timer" && wait "$timer"; } 2>/dev/null
    return "$code"
}

end_process() { # PID: KILL to it and its children; whether it ended
    local turn
    pkill -KILL -P "$1" 2>/dev/null
    kill -KILL "$1" 2>/dev/null
    for turn in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    disown "$1" 2>/dev/null
    return 1
}
