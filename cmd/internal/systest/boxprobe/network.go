package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

var network = map[string]attempt{
	"connect4": func(args []string) (string, error) {
		return connect(unix.AF_INET, &unix.SockaddrInet4{Port: number(args[0]), Addr: [4]byte{127, 0, 0, 1}})
	},
	"connect6": func(args []string) (string, error) {
		return connect(unix.AF_INET6, &unix.SockaddrInet6{Port: number(args[0]), Addr: [16]byte{15: 1}})
	},
	// A name that begins with "@" is an abstract one (unix(7)).
	"connect-unix": func(args []string) (string, error) {
		return connect(unix.AF_UNIX, &unix.SockaddrUnix{Name: args[0]})
	},
	"bind4": func([]string) (string, error) {
		return closing(listen(unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	},
	"bind6": func([]string) (string, error) {
		return closing(listen(unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}))
	},
	// It listens until the process ends.
	"listen-unix": func(args []string) (string, error) {
		fd, err := listen(unix.AF_UNIX, &unix.SockaddrUnix{Name: args[0]})
		return fmt.Sprint("descriptor ", fd), err
	},
	"raw":     socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
	"packet":  socket(unix.AF_PACKET, unix.SOCK_RAW, 0),
	"netlink": socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE),
	"udp":     socket(unix.AF_INET, unix.SOCK_DGRAM, 0),
}

func socket(family, kind, protocol int) attempt {
	return func([]string) (string, error) {
		return closing(unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol))
	}
}

func connect(family int, to unix.Sockaddr) (string, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return only(unix.Connect(fd, to))
}

func listen(family int, at unix.Sockaddr) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, at); err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
