// Package top is preforkd top: a status that is looked at again and again, drawn
// on the whole terminal, with keys to sort it, to look for connections and to
// end them.
//
//	source ──► look ──► model ──► frame ──► the terminal
//	   ▲                 │  ▲
//	   └───── kill ◄─────┘  └── keys, and the size of the terminal
//
// Bubble Tea runs the loop in the middle: the model is touched by nobody else,
// and what takes time, a look or a kill, is a command beside the loop. A frame
// is made of the tables of package show and is plain text: bold and reversed
// are added to it, colours are not, and nothing is told by either alone.
//
// When the master does not answer, the last look stays on the terminal under a
// line that says so, and looking goes on: a master that is back is shown again.
//
// The terminal is given back on every way out: a key, the end of the terminal,
// SIGINT, SIGTERM and SIGHUP.
package top
