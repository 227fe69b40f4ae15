package main

import (
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// memory holds attempts at memory that can be written and executed.
var memory = map[string]attempt{
	"map-executable": func([]string) (string, error) {
		return only2(unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON))
	},
	"make-executable": func([]string) (string, error) {
		page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return "", err
		}
		return only(unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC))
	},
}

// bombs take of something as much as they are told to, and tell how much it was when
// they had no more.
var bombs = map[string]attempt{
	"reserve": func(args []string) (string, error) { // in MiB, at once: the runtime needs some, too
		memory, err := unix.Mmap(-1, 0, number(args[0])<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return "", err
		}
		return only(unix.Munmap(memory))
	},
	"fill": func(args []string) (string, error) { // a file, in KiB
		fd, err := unix.Open(args[1], unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		piece := make([]byte, 1024)
		return many(args[0], func(int) error {
			n, err := unix.Write(fd, piece)
			if err == nil && n < len(piece) {
				err = unix.ENOSPC
			}
			return err
		})
	},
	"files": func(args []string) (string, error) {
		return many(args[0], func(i int) error {
			fd, err := unix.Open(filepath.Join(args[1], strconv.Itoa(i)), unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
			if err == nil {
				unix.Close(fd)
			}
			return err
		})
	},
}

func many(most string, one func(i int) error) (string, error) {
	for i := range number(most) {
		if err := one(i); err != nil {
			return "", fmt.Errorf("after %d: %w", i, err)
		}
	}
	return most, nil
}
