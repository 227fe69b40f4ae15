// Package show writes a status of a master for people: preforkd status prints
// it, preforkd top draws the same tables live.
//
// It owns what is shown first, how wide it may be and what is left out where
// the terminal is narrow. It never asks anybody anything: it is given a
// control.Status. Whatever a peer has put into a name comes out printable, and
// nothing is said by colour.
//
// # What comes first
//
// Of the services, those in trouble, in the order in which the master names
// them as problems; then those that do not serve; then the fullest. Of the
// connections, the one whose worker has used most CPU, then the oldest: who
// looks at a list of thousands looks for the one that is too expensive, or that
// should long be gone.
package show
