// Package ipc is the contract between the master and its workers: which file
// descriptors a worker holds, which environment variables it sees, which
// messages travel over the control channel, and what its exit codes mean.
//
// Both sides import it and neither side owns it, so nothing in here acts: it
// names, encodes, decodes and moves single messages. It never spawns, never
// decides, and never closes a descriptor that it was given.
//
// A worker pays for its whole import graph on every connection. This package
// therefore imports the standard library's small packages and x/sys only;
// a test holds that.
package ipc
