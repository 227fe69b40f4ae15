// Package mounts makes the file system that the processes of a box see.
//
// Build makes a template: a mount namespace of its own, which Linux copies for
// each cell of the box. All that is the same for every cell is in the template:
// what is read-only, what is hidden, binds, the box's /dev. What each cell must
// have for itself (/tmp, /var/tmp, /dev/shm, a /proc of its pid namespace) is
// listed by Template.CellMounts. The first process of a cell mounts it in its
// copy. A State tells later whether somebody has used those mounts.
//
// The root of a template is a recursive copy of the machine's root, or of the
// root-directory. pivot_root(2) makes it the root of the namespace, so that
// nothing above it is left in there. Every mount in it is private: what is
// mounted later on the machine does not appear in the box, and the reverse.
//
// Every path is resolved below the root of the box (openat2(2),
// RESOLVE_IN_ROOT). A symbolic link to an absolute path means that path within
// the box, and ".." does not lead out. The source of a bind is a path of the
// machine.
//
// The order is fixed, so that a key that hides is never undone by one that
// shows: /proc and /sys, temporary file systems, /dev, binds, what is hidden,
// and then what is read-only or writable, the outer path before the inner one.
// A path that another key would cover is an error.
//
// A View says ahead what the processes of a box will find at a path, and what Build
// would fail for. The configuration is checked with it, and programs are looked for in
// it.
//
// The package owns the namespace and its descriptor until Close. It never
// changes a mount of the machine, never creates anything in a file system that
// it has not made itself, never starts a process, and never gives less than the
// Config says: it returns an error instead. It knows nothing of services.
//
// What Build needs: Linux 5.12 (mount_setattr(2)), CAP_SYS_ADMIN and
// CAP_SYS_CHROOT, and /proc.
package mounts
