// Package userpool lends the uids of a range, each to one borrower at a time. In a
// box with a user of its own no two live connections have the same uid, so that
// neither can signal or trace the other, or open its files.
//
// The package owns which uids are lent, and checks once that no account of this
// machine is in the range. It lends none that systemd has given to a service. It never changes the user of a process, never looks
// for processes or files of a uid, and knows nothing of boxes: who gives a uid
// back says that nothing runs as it and nothing is owned by it any more.
package userpool
