//go:build !amd64 && !arm64

package signals

import "golang.org/x/sys/unix"

// dispositions are those of signals.
type dispositions struct{}

// stick does nothing here: another thread may take a signal before a program is executed,
// and it is lost then.
func stick() (dispositions, error) { return dispositions{}, nil }

func spread() {}

func unstick(dispositions) {}

func takePending([]unix.Signal) unix.Signal { return 0 }
