package ipc

// Protocol is the version of this contract. It is the third byte of every
// message, in every version to come, so that either side can say which one the
// other speaks before it understands anything else.
const Protocol = 1

// Version is preforkd's own version, set by the linker (see the Makefile). It
// is shown to people and to workers and never compared.
var Version = "dev"
