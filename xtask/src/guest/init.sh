#!/bin/busybox sh
# First process of the guest, in two acts: from the initial file system it prepares a root, from there it runs
# `jobs`. `settings` gives WORKSPACE and TARGET (folders of the host that must stay reachable) and SECONDS_MOST.
set -e
# A failure ends the machine; the words of what failed are then the last on the console.
trap 'poweroff -f' EXIT

prepare() {
    /bin/busybox --install -s /bin
    mkdir -p /proc /dev
    mount -t proc proc /proc
    mount -t devtmpfs dev /dev
    for module in /modules/*; do insmod "$module"; done

    # The host's root, read only, below a layer in memory that takes what is written.
    mkdir /host /layer /new /kept
    mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /host
    mount -t tmpfs -o size=50% layer /layer
    mkdir /layer/upper /layer/work
    mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /new

    for folder in "$WORKSPACE" "$TARGET"; do
        mkdir -p "/kept$folder" "/new$folder"
        mount --bind "/new$folder" "/kept$folder"
    done
    mount -t proc proc /new/proc
    mount -t sysfs sys /new/sys
    mount -t devtmpfs dev /new/dev
    mkdir -p /new/dev/pts /new/dev/shm
    mount -t devpts -o gid=5,mode=620,ptmxmode=666 pts /new/dev/pts
    mount -t tmpfs -o mode=1777 shm /new/dev/shm
    mount -t tmpfs -o mode=755 run /new/run
    mount -t tmpfs -o mode=1777 tmp /new/tmp
    for folder in "$WORKSPACE" "$TARGET"; do
        mkdir -p "/new$folder"
        mount --bind "/kept$folder" "/new$folder"
    done

    mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
    for controller in $(cat /new/sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" > /new/sys/fs/cgroup/cgroup.subtree_control
    done
    mount --make-rshared /new
    ip link set lo up
    hostname guest

    mkdir -p /new/run/guest/bin
    cp /init /settings /jobs /new/run/guest/
    cp /bin/busybox /new/run/guest/bin/
    umount /proc /dev
    exec switch_root /new /run/guest/bin/busybox sh /run/guest/init run
}

run() {
    PATH=/run/guest/bin
    export PATH
    busybox --install -s /run/guest/bin
    ulimit -n 1048576

    # What the jobs print leaves through port 1, its exit code through port 2.
    while ! [ -e /dev/vport*p1 ] || ! [ -e /dev/vport*p2 ]; do usleep 10000; done
    output=$(echo /dev/vport*p1)
    status=$(echo /dev/vport*p2)
    mkfifo /run/guest/output
    cat /run/guest/output > "$output" &
    cat=$!
    exec 3> /run/guest/output
    read -r up rest < /proc/uptime
    echo "── guest: Linux $(uname -r), $(grep -c ^processor /proc/cpuinfo) processors, up after $up s" >&3
    code=0
    timeout -k 5 "$SECONDS_MOST" sh /run/guest/jobs < /dev/null >&3 2>&1 3>&- || code=$?
    exec 3>&-
    # A process that outlives the jobs may hold its output open: no reason to wait long.
    for tick in $(seq 100); do kill -0 $cat 2> /dev/null && usleep 10000 || break; done
    echo $code > "$status"
    poweroff -f
}

case "$1" in
    run) . /run/guest/settings; run ;;
    *) . /settings; prepare ;;
esac
