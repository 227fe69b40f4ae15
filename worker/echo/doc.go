// Package echo is the built-in handler that sends back what it receives, as
// RFC 862 has it: every byte, in order, until the client ends its side; then it
// ends its own. A client that does not read is not read from either, so the
// memory of a connection is bounded by one buffer and one pipe.
//
// Long transfers go through splice(2) and are not copied through the process;
// where the kernel does not allow that, they are, and nobody notices but the CPU.
//
// With ipc.SettingQuitWord set it is not quite that service any more. A line
// that is exactly the word, ended by "\n" or "\r\n", ends the connection from
// this side:
//
//   - What came before the line is echoed. The line itself is not, and neither
//     is what came after it.
//   - So that this does not depend on how the line is cut into packets, bytes
//     that may still become the quit line are held back until they cannot. A
//     client that sends a part of a line and waits for its echo may wait until
//     it sends more.
//   - The word at the end of the stream, with no line end after it, is no line:
//     it is echoed, and the connection ends as it does without a quit word.
//   - Every byte is looked at, so nothing is spliced.
package echo
