#!/bin/bash
# A file system:  filesystem.sh SOURCE TARGET mount|unmount|remount|watch|status
#
# SOURCE: server:/export (NFS), //server/share (CIFS), a directory (bind mount), a device, UUID=..., LABEL=...,
# or an image file. Options (credentials=...) and other types come from /etc/fstab where TARGET is listed there
# (with noauto), else from DRCM_MOUNT_OPTIONS. nfs.sh and cifs.sh are this script under 1.41's names.
#
# watch: mount it if it is not mounted; mount it anew if it is stale, that is does not answer or says so.
# Fails if it has become read-only, warns if it is full. Nothing here waits for a dead server.
# DRCM_PROBE_SECONDS (10) and DRCM_MOUNT_SECONDS (20; for mount 60) in the environment say how long it may take.
# A mount point that was empty gets a file that shows when nothing is mounted on it.
# Exit 0: done, or nothing to do; status: 0 = it is mounted.
. "$(dirname "$(readlink -f "$0")")/functions.bash"
set -u

PROBE_SECONDS=${DRCM_PROBE_SECONDS:-10}
MARKER=THIS_FILE_SYSTEM_IS_NOT_MOUNTED
FULL=98 # per cent

usage() { echo "usage: $me SOURCE TARGET mount|unmount|remount|watch|status" >&2; exit 2; }

[ $# -eq 3 ] || usage
source=$1 target=${2%/} action=$3
[ "$action" = mount ] && patience=60 || patience=20 # a watch has a minute for all that it does
MOUNT_SECONDS=${DRCM_MOUNT_SECONDS:-$patience}
notes=${DRCM_RUN_DIR:-/run/drcm}/filesystems
note=$notes/${target//\//_}

case ${DRCM_FSTYPE:-}:$source in
nfs: | nfs:*) kind=nfs ;;
cifs:*) kind=cifs ;;
://*) kind=cifs ;;
:/*) kind=local ;;
:*:/*) kind=nfs ;;
*) kind=local ;;
esac

# By the kernel's list, blanks as it writes them: no look at the file system itself. The last line counts.
facts() { # prints "OPTIONS SUPER-OPTIONS" of what is mounted on target, nothing where nothing is
    local word=${target//\\/\\134}
    word=${word// /\\040}
    DRCM_TARGET=$word awk '$5 == ENVIRON["DRCM_TARGET"] { found = $6 " " $NF } END { print found }' /proc/self/mountinfo
}
mounted() { [ -n "$(facts)" ]; }
read_only() { [[ $(facts) =~ (^|[ ,])ro([ ,]|$) ]]; }
in_fstab() { awk -v t="$target" '$1 !~ /^#/ && $2 == t { found = 1 } END { exit !found }' /etc/fstab 2>/dev/null; }

remember_mode() { # so that a file system that becomes read-only is told from one that always was
    mkdir -p "$notes"
    read_only && echo ro >"$note.mode" || echo rw >"$note.mode"
}

do_mount() {
    local options=${DRCM_MOUNT_OPTIONS:-}
    local -a how
    mounted && return 0
    mkdir -p "$target" || fail "$target: can't be made"
    mark_mount_point
    if in_fstab; then
        how=()
    elif [ "$kind" != local ]; then
        how=(-t "$kind" "$source")
    elif [ -d "$source" ]; then
        options=bind${options:+,$options} how=("$source")
    elif [ -f "$source" ]; then
        options=loop${options:+,$options} how=("$source")
    elif [ -b "$source" ] || [[ $source == *=* ]]; then
        how=("$source")
    else
        fail "$source: no device, directory or image here, and $target is not in /etc/fstab"
    fi
    limited "$MOUNT_SECONDS" mount ${options:+-o "$options"} "${how[@]}" "$target" ||
        fail "$source: can't be mounted on $target (exit code $?)"
    mounted || fail "$source: mount said yes, but $target is not mounted"
    rm -f "$note.stuck"
    remember_mode
}

mark_mount_point() {
    [ -z "$(ls -A "$target")" ] || return 0
    echo "Nothing is mounted on $target: $source belongs here, drcm mounts it where its services run." \
        >"$target/$MARKER" 2>/dev/null
}

do_unmount() { # ordinary; then without its users; over the network then by force, then out of sight
    mounted || return 0
    if alive; then
        limited 15 umount "$target" || { end_users && limited 10 umount "$target"; }
    fi
    if mounted && [ "$kind" = local ] && ! stale; then
        fail "$target: can't be unmounted, it is still in use: $(users | xargs)" # two writers would ruin a disk
    fi
    if mounted; then
        limited 5 umount -c -i -f "$target" 2>/dev/null
        mounted && limited 5 umount -c -i -l "$target"
        mounted && fail "$target: can't be unmounted"
        echo "$me: $target did not let go: it was detached" >&2
    fi
    rm -f "$note.mode"
}

users() { # processes that have something of it open, by the kernel's own links: no look at the file system
    find /proc/[0-9]*/{cwd,root,exe,fd,map_files} -maxdepth 1 -type l -printf '%p %l\n' 2>/dev/null |
        DRCM_TARGET=$target awk -v self=$$ -v parent="$PPID" '
            { link = substr($0, length($1) + 2); split($1, path, "/") }
            link == ENVIRON["DRCM_TARGET"] || index(link, ENVIRON["DRCM_TARGET"] "/") == 1 {
                if (path[3] != self && path[3] != parent) print path[3]
            }' | sort -un
}

end_users() {
    local signal
    for signal in TERM KILL; do
        kill "-$signal" $(users) 2>/dev/null || return 0
        echo "$me: $target is in use: $signal to its users" >&2
        for _ in 1 2 3 4 5 6 7 8; do
            [ -z "$(users)" ] && return 0
            sleep 0.25
        done
    done
    return 0
}

# Whether it answers. One that hangs even after KILL is not asked again while its last asker still hangs.
alive() {
    [ -n "${alive_known:-}" ] && return "$alive_known"
    alive_known=1
    if [ -r "$note.stuck" ] && kill -0 "$(cat "$note.stuck")" 2>/dev/null; then
        return 1
    fi
    mkdir -p "$notes"
    limited "$PROBE_SECONDS" stat -f -c '%b %f %a %c %d' "$target" >"$note.statfs" 2>"$note.error" &&
        limited "$PROBE_SECONDS" stat -c %i "$target" >/dev/null 2>"$note.error"
    alive_known=$?
    [ "$alive_known" -eq 125 ] && echo "$limited_pid" >"$note.stuck"
    return "$alive_known"
}
stale() { ! alive; }

warn_if_full() {
    local blocks free available inodes inodes_free used
    read -r blocks free available inodes inodes_free <"$note.statfs" || return 0
    used=$((blocks - free))
    if ((used > 0 && used * 100 >= (used + available) * FULL)); then
        echo "WARNING: $target is full: $((used * 100 / (used + available))) % used"
    fi
    if ((inodes > 0 && (inodes - inodes_free) * 100 >= inodes * FULL)); then
        echo "WARNING: $target has no room for more files: $inodes_free of $inodes inodes are free"
    fi
}

watch() {
    if mounted && stale; then
        echo "$me: $target is stale ($(tail -n 1 "$note.error" 2>/dev/null)): mounting it anew" >&2
        do_unmount
    fi
    mounted || { do_mount && unset alive_known; }
    alive || fail "$target: mounted, but does not answer"
    [ -r "$note.mode" ] || remember_mode
    if read_only && [ "$(cat "$note.mode")" = rw ]; then
        fail "$target has become read-only: its disk or server is in trouble, see dmesg"
    fi
    warn_if_full
}

case $action in
mount) do_mount ;;
unmount) do_unmount ;;
remount) do_unmount; do_mount ;;
watch) watch ;;
status) mounted ;;
*) usage ;;
esac
