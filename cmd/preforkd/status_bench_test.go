package main

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/preforkd/preforkd/master/control"
)

// BenchmarkAcceptBesideStatus measures a connection from its beginning to its
// end, beside two thousand others that are idle, while nobody looks at the master
// and while somebody looks as often as he can. Only the ratio of the two means
// anything: the master has the race detector in it.
func BenchmarkAcceptBesideStatus(b *testing.B) {
	for _, name := range []string{"alone", "watched"} {
		b.Run(name, func(b *testing.B) {
			m := controlled(b, "--max-connections", "2100", "--", "/bin/cat")
			m.DialAll(b, 2000)
			ctx, cancel := context.WithCancel(b.Context())
			var watcher sync.WaitGroup
			if name == "watched" {
				watcher.Go(func() {
					c := control.NewClient(m.Control)
					defer c.Close()
					for ctx.Err() == nil {
						if _, err := c.Status(ctx); err != nil && ctx.Err() == nil {
							b.Error(err)
							return
						}
					}
				})
			}
			for b.Loop() {
				client, err := m.TryDial()
				if err != nil {
					b.Fatal(err)
				}
				if err := client.TryEcho("hello"); err != nil {
					b.Fatal(err)
				}
				client.CloseWrite(b)
				io.Copy(io.Discard, client)
				client.Close()
			}
			cancel()
			watcher.Wait()
		})
	}
}
