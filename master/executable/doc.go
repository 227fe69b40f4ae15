// Package executable finds out why the kernel does not execute a file that is
// there: its interpreter is missing. execve(2) says ENOENT then, and does not say
// of which file. The package only reads; it starts nothing.
package executable
