# Becomes a machine: mounts its root, boots it, and holds it until the standard
# input ends. It runs as pid 1 of a PID namespace and in a mount namespace of
# its own, so that its end is the end of every process and mount made here.
#
#   sh machine.sh NAME MASKED NETWORK TREE... < PIPE
#
# MASKED is a list of units, NETWORK the options of nspawn that say which it has,
# TREE directories that are copied over the root.
set -eu
name=$1 masked=$2 network=$3
shift 3

# In every hierarchy that the machine's systemd manages it gets a group of its
# own, below that of this process. nspawn puts the machine into "payload" below
# the group that it is started in, whoever else is there already.
while IFS=: read -r number controllers path; do
	case $number:$controllers in
	*:name=systemd) top=/sys/fs/cgroup/systemd ;;
	0:) top=/sys/fs/cgroup/unified && [ -d "$top" ] || top=/sys/fs/cgroup ;;
	*) continue ;;
	esac
	# Without the unified hierarchy there is a line for it, but no directory.
	[ -e "$top/cgroup.procs" ] || continue
	mkdir -p "$top$path/$name"
	echo 0 >"$top$path/$name/cgroup.procs"
done </proc/self/cgroup

# nspawn keeps locks and sockets in /run, which are nobody else's business.
mount -t tmpfs -o mode=0755,size=1g preforkd-machine /run
mkdir /run/upper /run/work /run/root
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work preforkd-machine /run/root
cd /run/root

for dir in etc/systemd/system usr/local/lib/systemd etc/init.d etc/rcS.d etc/sysctl.d etc/modules-load.d; do
	rm -rf "$dir"
	mkdir -p "$dir"
done
rm -rf var/log/journal
: >etc/fstab
echo "$name" >etc/hostname
for unit in $masked; do
	ln -s /dev/null "etc/systemd/system/$unit"
done
for tree; do
	cp -a "$tree/." .
done
cd /

# --keep-unit and --register=no: there is no system manager to ask for a scope,
# and no machined to tell. Services confine themselves as they do on a host:
# nspawn's own filter knows nothing of Landlock.
systemd-nspawn --directory=/run/root --machine="$name" --boot \
	--register=no --keep-unit --settings=no $network \
	--system-call-filter="seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self" \
	--link-journal=no --resolv-conf=off --timezone=off --console=read-only \
	</dev/null &
read -r _ || :
