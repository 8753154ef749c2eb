"""The program of the small initrd: a script for busybox's shell."""

from __future__ import annotations

from lkbuild.plan.root_kinds import ROOT_DIRECTORY, RootType

APPLETS = ("cat", "find", "ls", "modprobe", "mount", "sh", "sleep", "sort", "switch_root", "umount")
"""What the script calls, and what the kernel does."""

_INIT = """\
#!/bin/sh
# Loads the drivers that the root filesystem needs, mounts it and starts its init.
# Of the kernel's command line it reads root=, rootfstype=, rootflags=, rootdelay=, rootwait and init=, as the kernel
# does where it needs no initrd.  When this gives up, the kernel panics, and does what panic= says.
set -f
export PATH=/bin
device=/dev/vda type=@TYPE@ flags=ro delay=0 patience=30 init= known=

fail() {
    echo "root: $1"
    echo "root: block devices here:" $(ls /sys/class/block)
    echo "root: the kernel's command line says which it is: root=/dev/NAME rootfstype=@TYPE@; rootwait waits for it"
    sleep 1
    exit 1
}

# Seconds since the machine started.
now() {
    read -r up _ </proc/uptime
    echo "${up%.*}"
}

# Load the driver of every device that is there.  The driver of a bus makes more devices appear, so until none does.
drivers() {
    while
        devices=$(find /sys/devices -name modalias -exec cat {} + | sort -u)
        [ "$devices" != "$known" ]
    do
        known=$devices
        modprobe -a -b -q $devices 2>/dev/null
    done
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for word in $(cat /proc/cmdline); do
    case $word in
    --) break ;;
    root=*) device=${word#*=} ;;
    rootfstype=*) type=${word#*=} ;;
    rootflags=*) flags=ro,${word#*=} ;;
    rootdelay=*) delay=${word#*=} ;;
    rootwait) patience=1000000000 ;;
    init=*) init=${word#*=} ;;
    esac
done

drivers
case $device in
/dev/*) ;;
*) fail "root=$device: only names of devices are understood here, /dev/vda for instance" ;;
esac
sleep "$delay"
end=$(($(now) + patience))
until [ -b "$device" ]; do
    [ "$(now)" -lt "$end" ] || fail "there is no $device"
    sleep 0.1
    drivers
done
modprobe -q "fs-$type"
mount -t "$type" -o "$flags" "$device" /@ROOT@ || fail "$device cannot be mounted as $type"
for program in $init /sbin/init /etc/init /bin/init /bin/sh; do
    if [ -e "/@ROOT@$program" ] || [ -L "/@ROOT@$program" ]; then
        umount /proc /sys
        mount --move /dev /@ROOT@/dev || umount /dev
        exec switch_root /@ROOT@ "$program" "$@"
    fi
done
fail "$device has no init: ${init:-/sbin/init}"
"""


def init(type: RootType) -> str:
    """The script, for a root that is of `type` where the command line does not say otherwise."""
    return _INIT.replace("@TYPE@", type).replace("@ROOT@", ROOT_DIRECTORY.decode("ascii"))
