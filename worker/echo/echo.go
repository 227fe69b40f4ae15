package echo

import (
	"io"

	"github.com/preforkd/preforkd/worker"
)

// bufferSize is what a connection reads at once, in bytes.
const bufferSize = 64 << 10

// Serve is the echo handler.
func Serve(c *worker.Conn) error {
	buf := make([]byte, bufferSize)
	for {
		n, err := c.Read(buf)
		if err == io.EOF {
			return c.CloseWrite()
		}
		if err != nil {
			return err
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
	}
}
