#!/bin/bash
# A NFS file system:  nfs.sh SOURCE TARGET mount|unmount|remount|watch
#
# SOURCE is server:/export.
# Options come from /etc/fstab where TARGET is listed there, else DRCM_MOUNT_OPTIONS, else the server's defaults.
# watch: mount it if it is not mounted, remount it if it is stale. Nothing here waits for a dead server:
# every call has its time, then is killed. Exit 0: done, or nothing to do.
set -u

usage() { echo "usage: ${0##*/} SOURCE TARGET mount|unmount|remount|watch" >&2; exit 2; }
fail() { echo "${0##*/}: $*" >&2; exit 1; }

[ $# -eq 3 ] || usage
source=$1 target=${2%/} action=$3

mounted() { # by the kernel's list, blanks as it writes them: no look at the file system itself
    local word=${target//\\/\\134}
    word=${word// /\\040}
    DRCM_TARGET=$word awk '$5 == ENVIRON["DRCM_TARGET"] { found = 1 } END { exit !found }' /proc/self/mountinfo
}
alive() { timeout -k 1 10 stat -f "$target" >/dev/null 2>&1; }
in_fstab() { awk -v t="$target" '$1 !~ /^#/ && $2 == t { found = 1 } END { exit !found }' /etc/fstab; }

do_mount() {
    mounted && return 0
    mkdir -p "$target" || fail "$target: can't be made"
    if in_fstab; then
        timeout -k 2 60 mount "$target" || fail "$target: can't be mounted as /etc/fstab says"
    else
        timeout -k 2 60 mount -t nfs ${DRCM_MOUNT_OPTIONS:+-o "$DRCM_MOUNT_OPTIONS"} "$source" "$target" ||
            fail "$source: can't be mounted on $target"
    fi
}

do_unmount() { # ordinary, then by force, then out of sight: what still uses it keeps its own handle
    mounted || return 0
    timeout -k 2 15 umount "$target" && return 0
    timeout -k 2 10 umount -f "$target" 2>/dev/null
    mounted || return 0
    timeout -k 2 10 umount -l "$target"
    mounted && fail "$target: can't be unmounted"
    echo "${0##*/}: $target was in use, detached by umount -l" >&2
}

case $action in
mount) do_mount ;;
unmount) do_unmount ;;
remount) do_unmount; do_mount ;;
watch)
    if mounted && ! alive; then
        echo "${0##*/}: $target is stale: remounting it" >&2
        do_unmount
    fi
    do_mount && { alive || fail "$target: mounted, but does not answer"; }
    ;;
*) usage ;;
esac
