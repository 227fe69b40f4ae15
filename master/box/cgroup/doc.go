// Package cgroup gives each boxed connection a cgroup of its own (cgroups(7), version
// 2 only), with limits, and says afterwards what the connection used and which limit it
// met.
//
//	ROOT                the cgroup that is delegated to the master; holds no process
//	├── master          the master, and all that it starts outside of a box
//	└── service-NAME    the limits of all connections of a service together
//	    ├── leaf-1      one connection at a time, and its own limits
//	    └── leaf-2
//
// Locate finds ROOT without changing anything, and says what would give one where there
// is none. Prepare takes it: it moves processes into the leaf of the master, because a
// cgroup with processes of its own cannot hand controllers on ("no internal process
// constraint", Documentation/admin-guide/cgroup-v2.rst), and it removes what an earlier
// master has left. Where systemd has put the master into a subgroup (DelegateSubgroup=,
// systemd.resource-control(5)), that subgroup takes the place of "master".
//
// A process gets into a leaf only by being born there (CLONE_INTO_CGROUP, clone(2);
// UseCgroupFD in syscall.SysProcAttr). Moving one through cgroup.procs waits for a
// lock of the whole machine (cgroup_threadgroup_rwsem), so it is done in Prepare alone.
// Leaves are made ahead of connections and used again, so their counters are read as
// differences.
//
// The package owns the directories "master" and "service-..." below ROOT, and touches no
// other. It never starts a process, never changes a cgroup that is not delegated, and
// knows nothing of configuration but the name of a service.
package cgroup
