# Makes what a machine boots from: kernel, initrd and root.img in DIR/result.
#
#   sh root.sh MIRROR DIR
#
# It runs as root, in mount and PID namespaces of its own.
set -eu
mirror=$1 dir=$2
umask 022
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

packages=systemd,systemd-sysv,dbus,udev,linux-image-cloud-amd64,procps,iproute2,util-linux
debootstrap --variant=minbase --include="$packages" trixie "$dir/root" "$mirror"

mkdir "$dir/result"
cp "$dir"/root/boot/vmlinuz-* "$dir/result/vmlinuz"
cp "$dir"/root/boot/initrd.img-* "$dir/result/initrd"
rm -rf "$dir"/root/var/cache/apt/* "$dir"/root/var/lib/apt/lists/*

# What takes time at boot and is of no use: the console is no terminal, nothing is
# updated, and there is no EFI.
units="$dir/root/etc/systemd/system"
for unit in getty.target serial-getty@ttyS0.service ldconfig.service systemd-update-done.service \
	systemd-journal-catalog-update.service systemd-hwdb-update.service systemd-firstboot.service \
	systemd-networkd.service systemd-timesyncd.service systemd-pstore.service modprobe@efi_pstore.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
	ln -sf /dev/null "$units/$unit"
done
echo preforkd-machine >"$dir/root/etc/hostname"
echo '/dev/vdb /opt ext4 ro 0 0' >"$dir/root/etc/fstab"

# The test binary is a service. When it ends, for whatever reason, the machine does.
# It starts when the machine has booted. systemd has made its cgroup its own, and
# placed it below that, in the same way as the drop-in box.conf does it for preforkd.
cat >"$units/preforkd-tests.service" <<'U'
[Unit]
Description=Tests that run in a machine
After=multi-user.target
Requires=dev-virtio\x2dports-preforkd.device
After=dev-virtio\x2dports-preforkd.device
RequiresMountsFor=/opt
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=exec
Environment=PREFORKD_MACHINE_INSIDE=agent HOME=/root LANG=C.UTF-8
ExecStart=/opt/test
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
Delegate=yes
DelegateSubgroup=tests
TasksMax=infinity
U
mkdir -p "$units/multi-user.target.wants"
ln -s ../preforkd-tests.service "$units/multi-user.target.wants"

mke2fs -q -t ext4 -d "$dir/root" "$dir/result/root.img" 1500M
