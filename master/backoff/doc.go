// Package backoff spaces out attempts that fail because the system lacks a
// resource, such as descriptors or processes. It owns the length of the pauses,
// and never waits itself.
package backoff
