package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/preforkd/preforkd/worker"
)

func main() {
	worker.Main(worker.Handlers{
		"echo":    echo,
		"lines":   lines,
		"goodbye": goodbye,
		"noisy":   noisy,
		"telling": telling,
		"who":     who,
	})
}

// echo sends back what it receives.
func echo(c *worker.Conn) error {
	_, err := io.Copy(writer{c}, reader{c})
	return err
}

// reader and writer hide the faster methods that io.Copy would use instead of Read and
// Write.
type (
	reader struct{ io.Reader }
	writer struct{ io.Writer }
)

// lines is a line protocol with the requests "report KEY VALUE", "panic WORDS", "fail
// WORDS", "exit" and "pid". It echoes every other line.
func lines(c *worker.Conn) error {
	in := bufio.NewScanner(c)
	for in.Scan() {
		word, rest, _ := strings.Cut(in.Text(), " ")
		answer := in.Text()
		switch word {
		case "report":
			key, value, _ := strings.Cut(rest, " ")
			answer = "ok"
			if err := c.Report(key, value); err != nil {
				answer = err.Error()
			}
		case "panic":
			panic(rest)
		case "fail":
			return errors.New(rest)
		case "exit":
			return nil
		case "pid":
			answer = fmt.Sprint(os.Getpid())
		}
		if _, err := fmt.Fprintln(c, answer); err != nil {
			return err
		}
	}
	return in.Err()
}

// noisy writes 200,000 bytes to stderr, and a line to stdout, and then greets.
func noisy(c *worker.Conn) error {
	line := strings.Repeat("x", 4999) + "\n"
	for range 40 {
		fmt.Fprint(os.Stderr, line)
	}
	fmt.Println("on stdout")
	_, err := fmt.Fprintln(c, "good")
	return err
}

// telling writes the first line of its client to stderr. The line "exit" ends the
// process with code 3.
func telling(c *worker.Conn) error {
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	fmt.Fprint(os.Stderr, line)
	if line == "exit\n" {
		os.Exit(3)
	}
	return nil
}

// goodbye echoes lines until the service stops. Then it says goodbye.
func goodbye(c *worker.Conn) error {
	ctx := c.Context()
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) })
	defer stop()
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		switch {
		case ctx.Err() != nil:
			fmt.Fprintln(c, "goodbye")
			return ctx.Err()
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		if _, err := fmt.Fprint(c, line); err != nil {
			return err
		}
	}
}

// who prints the connection's id, service and addresses.
func who(c *worker.Conn) error {
	_, err := fmt.Fprintf(c, "%s %s %s %s\n", c.ID(), c.Service(), c.Peer(), c.Local())
	return err
}
