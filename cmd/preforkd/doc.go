// Command preforkd is a process-per-connection server for Linux and the tools
// around it. Each subcommand is a file of its own; this package parses command
// lines, prints errors and chooses exit codes, and leaves the work to others.
package main
