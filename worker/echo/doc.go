// Package echo is the built-in handler that sends back what it receives, as
// RFC 862 has it: every byte, in order, until the client ends its side; then it
// ends its own.
package echo
