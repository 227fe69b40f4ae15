// Package machinetest runs tests in a whole machine that is made for them: Debian 13
// with its own kernel, systemd as pid 1, and cgroup v2, emulated by qemu(1). It is for
// what the machine that builds preforkd need not have: limits of cgroups, Delegate=,
// a kernel and a systemd of known versions, a real boot.
//
// A test is written once, and says that its body belongs into the machine:
//
//	func TestMain(m *testing.M) { machinetest.Main(m) }
//
//	func TestMemoryLimit(t *testing.T) {
//		machinetest.Run(t, func(t *testing.T) {
//			// inside, as root
//		})
//	}
//
// The first Run of a test process boots the machine, and all others use it, one
// after the other. Outside, the test has the result of the test of its name inside.
//
// It stands on these:
//
//  1. The root file system is built once, by debootstrap(8) from the mirror that apt
//     uses here, and kept in a cache (see EnvCache). Machines share it: each writes
//     to an overlay of its own, which is gone with it.
//  2. The directory /opt inside is a second, read-only disk. It has the package's test
//     binary, built anew without the race detector and without libc, those of other
//     packages whose tests need such a kernel, and what "make install" places, which is
//     copied over the root. So preforkd is installed there. Another version for upgrades,
//     which can be made to fail (package fault of master/upgrade), is in /opt/two.
//  3. Inside, the test binary is a service of systemd whose cgroup is delegated to it.
//     It is told by a virtio port which tests to run, each in a process of its own,
//     and answers with their output. Its process stands in a subgroup, as the master
//     does, so that a test may enable controllers and make groups beside it.
//  4. qemu ends with the process that has started it, however that ends.
//
// Emulated code runs at about a tenth of the machine's speed, and a boot takes 30 to
// 60 seconds: such tests are about what happens, never about how long it takes. They
// run by "make machine-test", which sets EnvWanted and installs what is needed.
//
// The package never touches cgroups, units or the network of the machine that it runs
// on. Only tests import it.
package machinetest
