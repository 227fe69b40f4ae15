// Package echo is the built-in handler that sends back what it receives, as RFC 862
// specifies. It echoes every byte in order. When the client ends its side, the handler
// ends its own side. The handler does not read while the client does not read the echo.
// The memory of a connection is therefore limited to one buffer and one pipe.
//
// Long transfers use splice(2) and are not copied through the process. Where the kernel
// does not allow splice, the handler copies, which only costs more CPU.
//
// With ipc.SettingQuitWord the handler differs from RFC 862. A line that equals the
// word, ended by "\n" or "\r\n", makes this side end the connection:
//
//   - The bytes before the line are echoed. The line and the bytes after it are not.
//   - The result must not depend on how packets cut the line. Bytes that may still
//     become the quit line are therefore held back until they cannot. A client that
//     sends a part of a line and waits for its echo may have to wait until it sends
//     more.
//   - The word at the end of the stream, without a line end, is not a line. It is
//     echoed, and the connection ends as it does without a quit word.
//   - The handler examines every byte, so it splices nothing.
package echo
