// Package epoll lets one goroutine wait for any number of descriptors, where Go's own
// poller would need a goroutine, and so some kilobytes, for each.
//
// A Set owns an epoll descriptor (epoll(7)), which Go's poller watches in turn: who
// waits holds no thread. The descriptors in it, and what their keys mean, are the
// callers'.
package epoll
