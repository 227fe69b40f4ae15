package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	switch name := filepath.Base(program); name {
	case "other":
		fmt.Println("hello")
	case "ends":
	case "tells":
		fmt.Fprintln(os.Stderr, "unknown flag")
		os.Exit(2)
	case "crashes":
		crash()
	case "crashes-later":
		greet("[1]")
		crash()
	case "format":
		greet("[1000]")
	case "formats":
		greet("[]")
	case "refuses":
		greet("[1]")
		fmt.Println(`{"error":"it is Sunday","step":"restore"}`)
	case "endless":
		for line := bytes.Repeat([]byte{'x'}, 1<<16); ; {
			if _, err := os.Stdout.Write(line); err != nil {
				return
			}
		}
	case "silent":
		time.Sleep(time.Hour)
	default:
		fmt.Fprintf(os.Stderr, "badsuccessor has nothing that %q stands for\n", name)
		os.Exit(1)
	}
}

// greet says who this is, and waits for the state.
func greet(formats string) {
	fmt.Printf(`{"version":"9","formats":%s}`+"\n", formats)
	bufio.NewReader(os.Stdin).ReadString('\n')
}

func crash() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	time.Sleep(time.Hour) // the signal may reach another thread first
}
