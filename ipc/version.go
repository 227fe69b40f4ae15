package ipc

// Protocol is the version of this contract. It is the third byte of every message in
// every version. Each side can therefore name the other side's version without
// understanding the rest of the message.
const Protocol = 1

// Version is preforkd's own version. The linker sets it (see the Makefile). It is shown
// to people and to workers and is never compared.
var Version = "dev"
