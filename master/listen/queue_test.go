package listen

import (
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

func TestQueue(t *testing.T) {
	l := listenAt(t, "127.0.0.1:0")
	if waiting, limit, ok := l.Queue(); waiting != 0 || limit < 1 || !ok {
		t.Errorf("%d of %d, %v", waiting, limit, ok)
	}
	dial(t, l)
	dial(t, l)
	// The client's connect returns a moment before the connection is in the
	// queue.
	for end := time.Now().Add(slowtest.Scale(time.Minute)); ; time.Sleep(time.Millisecond) {
		if waiting, _, ok := l.Queue(); waiting == 2 && ok {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d wait, %v", waiting, ok)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := l.Queue(); ok {
		t.Error("a closed listener has a queue")
	}
	if _, _, ok := listenAt(t, "unix:@preforkd-queue-test").Queue(); ok {
		t.Error("a unix socket is asked as if it were a TCP one")
	}
}
