package metrics

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// A client that stays connected after its scrape does not hinder others.
func TestClientsThatStay(t *testing.T) {
	s, err := Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	for i := range 3 * maxClients {
		conn, err := net.Dial("tcp", s.Local())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(slowtest.Scale(time.Minute))); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("client %d: %+v, %v", i, answer, err)
		}
	}
}
