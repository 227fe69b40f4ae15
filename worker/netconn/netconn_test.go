package netconn_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
	"github.com/preforkd/preforkd/worker/netconn"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// serve runs a handler on a connection to its end, as a worker does.
func serve(fd int, a ipc.Assignment, handler worker.Handler) (c *worker.Conn, done <-chan error) {
	c = worker.NewConn(fd, a)
	end := make(chan error, 1)
	go func() {
		err := handler(c)
		c.Close()
		end <- err
	}()
	return c, end
}

func echo(c *worker.Conn) error {
	n, err := netconn.New(c)
	if err != nil {
		return err
	}
	defer n.Close()
	_, err = io.Copy(n, n)
	return err
}

func TestConnEchoes(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		server, client := connect(t)
		c, done := serve(server, ipc.Assignment{}, echo)
		data := bytes.Repeat([]byte("0123456789"), 1<<18)
		go func() {
			client.Write(data)
			client.CloseWrite()
		}()
		if back, err := io.ReadAll(client); !bytes.Equal(back, data) || err != nil {
			t.Errorf("%d of %d bytes came back, %v", len(back), len(data), err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if in, out := c.Bytes(); in != uint64(len(data)) || out != in {
			t.Errorf("%d bytes in, %d out, want %d", in, out, len(data))
		}
	})
}

// The methods of worker.Conn work again after the net.Conn is closed.
func TestBlockingModeAfterClose(t *testing.T) {
	server, client := sockettest.TCP(t)
	_, done := serve(server, ipc.Assignment{Limits: ipc.Limits{Idle: time.Minute}}, func(c *worker.Conn) error {
		n, err := netconn.New(c)
		if err != nil {
			return err
		}
		// They work even while the socket is not in blocking mode.
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return err
		}
		_, err = c.Write([]byte("bye"))
		return errors.Join(err, n.Close())
	})
	client.Write([]byte("x"))
	if back, err := io.ReadAll(client); string(back) != "bye" || err != nil {
		t.Errorf("%q, %v", back, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestConnAddresses(t *testing.T) {
	server, _ := sockettest.TCP(t)
	c := worker.NewConn(server, ipc.Assignment{Peer: "[2001:db8::1]:4242"})
	defer c.Close()
	n, err := netconn.New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if got := n.RemoteAddr().String(); got != "[2001:db8::1]:4242" {
		t.Errorf("peer %s", got)
	}
}

func TestConnIdleLimit(t *testing.T) {
	for name, test := range map[string]struct {
		limits ipc.Limits
		want   error
	}{
		"idle":     {ipc.Limits{Idle: 20 * time.Millisecond}, worker.ErrIdle},
		"lifetime": {ipc.Limits{Lifetime: 20 * time.Millisecond}, worker.ErrLifetime},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := sockettest.TCP(t)
			_, done := serve(server, ipc.Assignment{Limits: test.limits}, echo)
			if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
				t.Errorf("the client got %q, %v", rest, err)
			}
			if err := <-done; !errors.Is(err, test.want) {
				t.Errorf("handler returned %v, want %v", err, test.want)
			}
		})
	}
}

func TestConnReset(t *testing.T) {
	server, client := sockettest.TCP(t)
	_, done := serve(server, ipc.Assignment{}, echo)
	client.Write([]byte("x"))
	io.ReadFull(client, make([]byte, 1))
	sockettest.Reset(t, client)
	if err := <-done; !errors.Is(err, worker.ErrPeerGone) {
		t.Errorf("handler returned %v", err)
	}
}

func hello(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/upgrade" {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		go func() {
			defer conn.Close()
			fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			rw.Flush()
			io.Copy(conn, rw)
		}()
		return
	}
	fmt.Fprintf(w, "hello %s", r.URL.Path)
}

func serveHTTP(c *worker.Conn) error {
	return netconn.Serve(c, &http.Server{Handler: http.HandlerFunc(hello)})
}

// get sends a request over an open connection and returns the body of the answer.
func get(t *testing.T, client net.Conn, r *bufio.Reader, path string, header string) string {
	t.Helper()
	fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", path, header)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestHTTPKeepAlive(t *testing.T) {
	for _, last := range []string{"", "Connection: close\r\n"} {
		server, client := sockettest.TCP(t)
		_, done := serve(server, ipc.Assignment{}, serveHTTP)
		r := bufio.NewReader(client)
		for _, path := range []string{"/a", "/b"} {
			if got := get(t, client, r, path, ""); got != "hello "+path {
				t.Errorf("%s: %q", path, got)
			}
		}
		get(t, client, r, "/c", last)
		if last == "" {
			client.CloseWrite()
		}
		if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
		client.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestHTTPUpgrade(t *testing.T) {
	server, client := sockettest.TCP(t)
	_, done := serve(server, ipc.Assignment{}, serveHTTP)
	r := bufio.NewReader(client)
	fmt.Fprint(client, "GET /upgrade HTTP/1.1\r\nHost: h\r\n\r\n")
	response, err := http.ReadResponse(r, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response, err)
	}
	fmt.Fprint(client, "another protocol")
	client.CloseWrite()
	if rest, err := io.ReadAll(r); string(rest) != "another protocol" || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
