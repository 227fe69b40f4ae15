package main

import (
	"io"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// BenchmarkHandover measures the time from a client's connect to the first byte
// that a handler writes of its own accord, from a worker that is spawned for
// the connection, from a spare, and from one that is used again. Only the ratio
// of the three means anything: the master has the race detector in it.
func BenchmarkHandover(b *testing.B) {
	for _, c := range []struct{ name, flags string }{
		{"spawned", ""},
		{"spare", "--spares 8"},
		{"reused", "--min-spares 1 --max-spares 8 --connections-per-worker 1000000"},
	} {
		b.Run(c.name, func(b *testing.B) {
			args := with(c.flags+" --handoff worker", "--", systest.Program(b, "cmd/internal/systest/testworker"), "who")
			m := systest.Start(b, args...)
			if c.name == "spare" {
				m.WaitSpares(b, 8)
			}
			first := make([]byte, 1)
			for b.Loop() {
				client, err := m.TryDial()
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, first); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				io.Copy(io.Discard, client)
				client.Close()
				if c.name == "spare" {
					m.WaitSpares(b, 8)
				}
				b.StartTimer()
			}
		})
	}
}
