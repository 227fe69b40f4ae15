// Package status makes what operators see of a running master: the answer of
// status, top and the metrics.
//
// A View is what only the loop knows, copied by the loop at one moment. Complete
// makes a control.Status of it, off the loop, with what takes time: what the
// kernel knows of sockets and processes, and what is wrong. The package changes
// nothing and owns nothing.
package status
