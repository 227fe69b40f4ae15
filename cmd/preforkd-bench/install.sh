#!/bin/sh
# Installs Debian packages, the names of which are its arguments, as far as they
# are missing. It first says which packages that are in all and how large they
# are. It starts and enables no service that a package brings.
#
# Where it cannot install, it says what is missing and exits with 0: whoever
# calls it leaves out what needs the package, and says so.
set -eu

missing=
for package; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
	[ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "not installed:$missing" >&2
	exit 0
fi

export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt-get -q update
# --assume-no answers the question that apt-get would ask, and so ends it after
# the lists and sizes, with an exit code of 1.
echo "to be installed:$missing, and what these need:"
# shellcheck disable=SC2086 # a list of words
apt-get install --assume-no --no-install-recommends $missing | grep -v '^Abort' || true
# shellcheck disable=SC2086
new=$(apt-get -s install --no-install-recommends $missing | sed -n 's/^Inst \([^ ]*\) .*/\1/p')

# Packages ask policy-rc.d before they start a service (invoke-rc.d(8)); 101
# forbids it. One that is there already is the administrator's.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d} # tests have another
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
# shellcheck disable=SC2086
apt-get -qy install --no-install-recommends $missing

# policy-rc.d keeps a package from starting a service now, not from enabling it
# for the next boot.
command -v systemctl >/dev/null || exit 0
for package in $new; do
	for unit in $(dpkg -L "$package" | sed -n 's,.*/lib/systemd/system/\([^/@]*\.\(service\|socket\|timer\)\)$,\1,p'); do
		case $(systemctl is-enabled "$unit" 2>/dev/null) in
		enabled) systemctl --quiet disable "$unit" ;;
		esac
	done
done
