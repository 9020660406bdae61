#!/bin/bash
# Boots systemd on a copy of this machine's root that forgets what is written, in namespaces of its own: the caller
# has made them (unshare --mount --pid --fork --net --uts --ipc). usage: systemd_machine.sh FOLDER PROGRAMS INSTALLER
set -e
folder=$1 programs=$2 installer=$3
root=$folder/root
mkdir -p "$root" "$folder/upper" "$folder/work"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mkdir "$root/sys/fs/cgroup/systemd"
mount -t cgroup -o none,name=systemd systemd "$root/sys/fs/cgroup/systemd"
mount -t tmpfs tmpfs "$root/run"
mount --rbind /dev "$root/dev"
# Below /opt, since /tmp is a new one there.
mkdir -p "$root/opt/postfleet"
cp -rL "$programs" "$root/opt/postfleet/programs"
cp -rL "$installer" "$root/opt/postfleet/install"
mount -t tmpfs tmpfs "$root/tmp"
rm -rf "$root/etc/postfix" "$root/etc/systemd/system/"*.wants
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
for unit in systemd-udevd systemd-logind systemd-networkd systemd-resolved systemd-timesyncd getty@tty1 console-getty \
            serial-getty@ttyS0; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
exec chroot "$root" /usr/bin/env container=docker /lib/systemd/systemd --show-status=0
