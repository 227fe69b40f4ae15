// Package endpoints holds the listening sockets: where each comes from, for
// which service it accepts, and whether the service manager keeps a copy.
//
// A Set is all of them. The master's loop owns it. A reload makes a Plan, which
// binds what is new and changes nothing, and then commits or discards it. A
// listener whose address a new one has taken is kept until nobody waits there
// any more. One whose network interface was made anew is bound again. Where there
// are many, their sockets are kept where no spawn copies them. The package accepts
// nothing and knows no connection.
package endpoints
