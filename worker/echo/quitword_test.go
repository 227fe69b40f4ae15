package echo

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// reference returns the echo of a whole stream. It simply cuts the stream into lines
// and compares them.
func reference(word, stream string) (echoed string, quit bool) {
	for rest := stream; ; {
		line, after, found := strings.Cut(rest, "\n")
		if !found {
			return stream, false
		}
		if line == word || line == word+"\r" {
			return stream[:len(stream)-len(rest)], true
		}
		rest = after
	}
}

// scanAll passes a stream to a scanner in pieces and returns the released bytes. next
// returns the length of each piece.
func scanAll(word, stream string, next func(left int) int) (echoed string, quit bool) {
	s := newScanner(word)
	var out bytes.Buffer
	for rest := []byte(stream); len(rest) > 0; {
		n := next(len(rest))
		held := s.pending()
		before, now, quit := s.scan(rest[:n])
		out.Write(held[:before])
		out.Write(rest[:now])
		if quit {
			return out.String(), true
		}
		rest = rest[n:]
	}
	out.Write(s.pending())
	return out.String(), false
}

func TestScannerExamples(t *testing.T) {
	for _, c := range []struct {
		stream, echoed string
		quit           bool
	}{
		{"", "", false},
		{"exit\n", "", true},
		{"exit\r\n", "", true},
		{"hello\nexit\nmore\n", "hello\n", true},
		{"hello\nexit", "hello\nexit", false}, // not a line: it has no line end
		{"exit\r", "exit\r", false},
		{"exit\r\r\n", "exit\r\r\n", false},
		{"\rexit\n", "\rexit\n", false},
		{" exit\nexit \n", " exit\nexit \n", false},
		{"Exit\nEXIT\n", "Exit\nEXIT\n", false},
		{"exitexit\nexi\nexit\x00\n", "exitexit\nexi\nexit\x00\n", false},
		{"\n\nexit\n", "\n\n", true},
		{"exi\nexit\nexit\n", "exi\n", true},
	} {
		for size := 1; size <= len(c.stream)+1; size++ {
			echoed, quit := scanAll("exit", c.stream, func(left int) int { return min(size, left) })
			if echoed != c.echoed || quit != c.quit {
				t.Errorf("%q in pieces of %d: %q, %v; want %q, %v", c.stream, size, echoed, quit, c.echoed, c.quit)
			}
		}
		if echoed, quit := reference("exit", c.stream); echoed != c.echoed || quit != c.quit {
			t.Errorf("the reference is wrong about %q: %q, %v", c.stream, echoed, quit)
		}
	}
}

// The streams consist of relevant parts and are cut anywhere.
func TestScannerProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		word := rapid.SampledFrom([]string{"exit", "e", "ee", "eexe", "exit\r", "\r", "ex it"}).Draw(r, "word")
		part := rapid.SampledFrom([]string{word, word[:len(word)-1], word + "\n", word + "\r\n", "\n", "\r", "e", "x", strings.Repeat("long", 50)})
		stream := strings.Join(rapid.SliceOf(part).Draw(r, "parts"), "")
		echoed, quit := scanAll(word, stream, func(left int) int { return rapid.IntRange(1, left).Draw(r, "piece") })
		if wantEchoed, wantQuit := reference(word, stream); echoed != wantEchoed || quit != wantQuit {
			r.Fatalf("%q in %q: %q, %v; want %q, %v", word, stream, echoed, quit, wantEchoed, wantQuit)
		}
	})
}

// FuzzScanner compares the scanner with reference. Each byte of cuts is the length of a
// piece. The lengths repeat until the stream ends.
func FuzzScanner(f *testing.F) {
	f.Add("exit", "hello\nexit\r\nmore", []byte{1})
	f.Add("exit", "exi\nexitt\nexit", []byte{3, 1, 2})
	f.Add("ee", "eee\nee\n", []byte{})
	f.Fuzz(func(t *testing.T, word, stream string, cuts []byte) {
		if word == "" || strings.Contains(word, "\n") {
			return // a scanner never gets this word
		}
		at := 0
		echoed, quit := scanAll(word, stream, func(left int) int {
			if len(cuts) == 0 {
				return left
			}
			at++
			return min(left, max(1, int(cuts[at%len(cuts)])))
		})
		if wantEchoed, wantQuit := reference(word, stream); echoed != wantEchoed || quit != wantQuit {
			t.Errorf("%q in %q: %q, %v; want %q, %v", word, stream, echoed, quit, wantEchoed, wantQuit)
		}
	})
}

func quitWord(word string) ipc.Assignment {
	return ipc.Assignment{Settings: []ipc.Pair{{Key: ipc.SettingQuitWord, Value: word}}}
}

// The bytes before the quit line must arrive, even when the client continues to send. A
// plain close would destroy them with a reset.
func TestQuitWordOverSockets(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		for _, before := range []int{0, 10, 3 << 20} {
			t.Run(fmt.Sprint(before), func(t *testing.T) {
				server, client := connect(t)
				done := serve(server, quitWord("exit"), Serve)
				data := append(bytes.Repeat([]byte("line of ten\n"), before/12+1), strings.Repeat("long", 1<<18)+"\n"...)
				go client.Write(append(bytes.Clone(data), "exit\r\nthis is\nnobody's\n"...))
				back, err := io.ReadAll(client)
				if err != nil || !bytes.Equal(back, data) {
					t.Errorf("%d of %d bytes came back, error %v", len(back), len(data), err)
				}
				client.CloseWrite()
				if got := <-done; got.err != nil || got.out != uint64(len(data)) {
					t.Errorf("handler: %+v", got)
				}
			})
		}
	})
}

func TestQuitWordByteByByte(t *testing.T) {
	server, client := sockettest.TCP(t)
	done := serve(server, quitWord("exit"), Serve)
	for _, b := range []byte("exi\nexit\n") {
		if _, err := client.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
		// No assertion depends on this. It only makes the bytes travel one by one.
		time.Sleep(time.Millisecond)
	}
	if back, err := io.ReadAll(client); string(back) != "exi\n" || err != nil {
		t.Errorf("%q, %v", back, err)
	}
	client.CloseWrite()
	if got := <-done; got.err != nil || got.in != 9 || got.out != 4 {
		t.Errorf("handler: %+v", got)
	}
}

// Without a line end the word is ordinary data.
func TestQuitWordThenEnd(t *testing.T) {
	server, client := sockettest.TCP(t)
	done := serve(server, quitWord("exit"), Serve)
	send(t, client, []byte("a\nexit"))
	if back, err := io.ReadAll(client); string(back) != "a\nexit" || err != nil {
		t.Errorf("%q, %v", back, err)
	}
	expectOutcome(t, done, 6)
}

func TestQuitWordWithLineBreakIsRefused(t *testing.T) {
	server, client := sockettest.TCP(t)
	c := worker.NewConn(server, quitWord("a\nb"))
	defer c.Close()
	client.Close()
	if err := Serve(c); err == nil || !strings.Contains(err.Error(), "line break") {
		t.Errorf("Serve: %v", err)
	}
}
