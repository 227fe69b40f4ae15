package process

import "runtime"

// LeaveMainThread runs f on another thread than the main one, and returns its
// result. Until then the main thread waits and forks nothing, so that what it has
// for children are orphans only (see ChildList). It must be called by the main
// goroutine, and an init function must have called LockMainThread.
func LeaveMainThread(f func() int) int {
	done := make(chan int)
	go func() { done <- f() }()
	return <-done
}

// LockMainThread binds the main goroutine to the main thread. It must be called
// by an init function, which runs there.
func LockMainThread() { runtime.LockOSThread() }
