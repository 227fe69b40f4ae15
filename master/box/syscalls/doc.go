// Package syscalls knows the names and numbers of Linux's system calls and systemd's
// named sets of them ("@mount"), and says which calls a list of such entries allows.
//
// The numbers are those of golang.org/x/sys/unix, whose version znumbers.go
// names, for the architectures amd64 and arm64. The sets are those of systemd 257 (sets.txt).
//
// The package never asks the kernel, and it installs no filter: package
// master/box/seccomp compiles one from a Policy.
package syscalls

//go:generate go run gen.go -o znumbers.go
