package echo

import (
	"io"
	"testing"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// readWrite is the handler to compare with. It only reads and writes, with a buffer of
// the same size.
func readWrite(c *worker.Conn) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, bufferSize))
	c.CloseWrite()
	return err
}

var handlersToBench = []struct {
	name    string
	handler worker.Handler
	setting ipc.Assignment
}{
	{"echo", Serve, ipc.Assignment{}},
	{"echo with quit word", Serve, quitWord("exit")},
	{"read and write", readWrite, ipc.Assignment{}},
}

var kinds = []struct {
	name    string
	connect func(testing.TB) (int, sockettest.Client)
}{{"tcp", sockettest.TCP}, {"unix", sockettest.Unix}}

// BenchmarkEchoRoundTrip measures one short request and its answer.
func BenchmarkEchoRoundTrip(b *testing.B) {
	for _, kind := range kinds {
		for _, bench := range handlersToBench {
			b.Run(kind.name+"/"+bench.name, func(b *testing.B) {
				server, client := kind.connect(b)
				done := serve(server, bench.setting, bench.handler)
				question, answer := testData(64), make([]byte, 64)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := client.Write(question); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(client, answer); err != nil {
						b.Fatal(err)
					}
				}
				client.CloseWrite()
				<-done
			})
		}
	}
}

// BenchmarkEchoBulk measures a long transfer of 16 MiB per operation.
func BenchmarkEchoBulk(b *testing.B) {
	for _, kind := range kinds {
		for _, bench := range handlersToBench {
			b.Run(kind.name+"/"+bench.name, func(b *testing.B) {
				server, client := kind.connect(b)
				done := serve(server, bench.setting, bench.handler)
				data, back := testData(16<<20), make([]byte, 1<<20)
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					go client.Write(data)
					for left := len(data); left > 0; {
						n, err := client.Read(back[:min(left, len(back))])
						if err != nil {
							b.Fatal(err)
						}
						left -= n
					}
				}
				client.CloseWrite()
				<-done
			})
		}
	}
}
