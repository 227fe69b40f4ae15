package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

// A Waiter is the client that waits for the outcome of an upgrade. Its connection can
// go over to the program that takes over, which then answers. It is used by one
// goroutine.
type Waiter struct {
	w        http.ResponseWriter
	detached net.Conn // nil while the server has the connection
}

// Detach takes the connection from the HTTP server and returns its descriptor. That
// stays the Waiter's, and is open until the Backend's method returns. What the method
// then returns is answered as ever.
func (w *Waiter) Detach() (fd int, err error) {
	if w.detached == nil {
		conn, _, err := http.NewResponseController(w.w).Hijack()
		if err != nil {
			return -1, fmt.Errorf("take the connection of the client that waits: %w", err)
		}
		w.detached = conn
	}
	return descriptorOf(w.detached)
}

// descriptorOf returns the descriptor of a connection, which stays the connection's.
func descriptorOf(conn net.Conn) (fd int, err error) {
	if c, ok := conn.(*client); ok {
		conn = c.Conn
	}
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return -1, errors.New("the connection of the client that waits has no descriptor")
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd = -1
	err = control.Control(func(number uintptr) { fd = int(number) })
	return fd, err
}

// answer answers on a connection that was detached, and closes it.
func (w *Waiter) answer(answer any, failed error) {
	defer w.detached.Close()
	_ = w.detached.SetWriteDeadline(time.Now().Add(closeTimeout))
	_, _ = w.detached.Write(response(answer, failed)) // a client that has gone does not want it
}

// AnswerUpgrade answers on the connection of a client that was detached in the program
// before this one, and closes it. failed is why there was no upgrade, or nil. The
// descriptor is a stream socket, and AnswerUpgrade's.
func AnswerUpgrade(fd int, answer Upgraded, failed error) error {
	f := os.NewFile(uintptr(fd), "control")
	if f == nil {
		return fmt.Errorf("answer the client of an upgrade: %w", os.ErrInvalid)
	}
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return fmt.Errorf("answer the client of an upgrade: %w", err)
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(closeTimeout))
	if _, err := conn.Write(response(answer.complete(), failed)); err != nil {
		return fmt.Errorf("answer the client of an upgrade: %w", err)
	}
	return nil
}

// response returns a complete response of HTTP/1.1 (RFC 9112), the last one of its
// connection.
func response(answer any, failed error) []byte {
	code, text := encodeAnswer(answer, failed)
	head := "HTTP/1.1 " + strconv.Itoa(code) + " " + http.StatusText(code) +
		"\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(text)) + "\r\nConnection: close\r\n\r\n"
	return append([]byte(head), text...)
}

type waiterKey struct{}

// withWaiter puts the client that waits into the context of its request.
func withWaiter(ctx context.Context, w *Waiter) context.Context {
	return context.WithValue(ctx, waiterKey{}, w)
}

// waiterOf returns the client that waits for a request.
func waiterOf(ctx context.Context) *Waiter { return ctx.Value(waiterKey{}).(*Waiter) }
