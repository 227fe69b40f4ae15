package counts

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/load"
)

// doneTimeout is for one connection.
const doneTimeout = time.Minute

// connections are those that are made to a subject, one after the other.
type connections struct {
	ctx  context.Context
	addr string
	log  string // path
	done []byte // is in the log once for each that is over

	logged int64 // bytes of the log that were searched
	over   int   // how often done was found in them
	begun  int   // connections that were made
}

// connect makes connections, one after the other.
func (c *connections) connect(n int) error {
	for range n {
		if err := c.ctx.Err(); err != nil {
			return context.Cause(c.ctx)
		}
		if err := c.exchange(); err != nil {
			return err
		}
		c.begun++
		if err := c.awaitDone(); err != nil {
			return err
		}
	}
	return nil
}

// exchange is one connection.
func (c *connections) exchange() error {
	conn, err := net.DialTimeout("tcp", c.addr, doneTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(doneTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(load.Message); err != nil {
		return err
	}
	got := make([]byte, len(load.Message))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("read echo: %w", err)
	}
	if !bytes.Equal(got, load.Message) {
		return fmt.Errorf("the echo is %.100q", got)
	}
	return nil
}

// awaitDone waits until the log says that all connections are over.
func (c *connections) awaitDone() error {
	f, err := os.Open(c.log)
	if err != nil {
		return err
	}
	defer f.Close()
	for deadline := time.Now().Add(doneTimeout); c.over < c.begun; {
		if _, err := f.Seek(c.logged, io.SeekStart); err != nil {
			return err
		}
		text, err := io.ReadAll(f)
		if err != nil {
			return err
		}
		// A line may be half written.
		text = text[:bytes.LastIndexByte(text, '\n')+1]
		c.logged += int64(len(text))
		c.over += bytes.Count(text, c.done)
		if c.over >= c.begun {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d connections are over after %v", c.over, c.begun, doneTimeout)
		}
		select {
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		case <-time.After(200 * time.Microsecond):
		}
	}
	return nil
}
