// Package nspawn boots a real systemd on the host's own root, in a container
// of systemd-nspawn(1) that needs no system manager outside: a machine with a
// journal, the host's programs, and a network of its own unless it is told to
// share the host's, on which units can be tried that the host never sees.
//
//	m, err := nspawn.Boot(ctx, nspawn.Options{Trees: []string{installed}})
//	defer m.Close()
//	out, err := m.Run(ctx, "systemctl", "start", "preforkd.service")
//
// It stands on these:
//
//  1. The root is an overlay of the host's on a tmpfs, so that whatever is
//     done to it is done to memory. What is enabled on the host is not enabled
//     there: the directories in which administrators enable things are empty,
//     and what else would start by itself and has no business in a test is
//     masked.
//  2. Mounts, /run, processes and control groups are in namespaces or
//     directories of the machine's own. Two machines do not notice each other.
//  3. A shell holds the machine, and this process holds the shell by a pipe.
//     When the pipe ends, for whatever reason, the shell does, and with it, as
//     it is pid 1 of its namespace, all that it has started and mounted.
//
// It owns nothing beyond the machine: what runs in there, and what that shows,
// is the business of tests and benchmarks.
package nspawn
