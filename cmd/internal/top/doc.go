// Package top is preforkd top. It fetches a status again and again and draws it on the
// whole terminal. Keys sort and filter the connections and end them.
//
//	source ──► fetchStatus ──► model ──► frame ──► the terminal
//	   ▲                        │  ▲
//	   └──────── kill ◄─────────┘  └── keys, and the size of the terminal
//
// Bubble Tea runs the loop in the middle. Only this loop uses the model. Slow work, a
// status request or a kill, is a command that runs beside the loop. A frame consists of
// the tables of package statusview in plain text. Bold and reversed are added to it,
// but no colours. The text alone says everything.
//
// When the master does not answer, the last status stays on the terminal below a line
// that says so. The requests continue, so a master that answers again is shown again.
//
// Top restores the terminal on every exit: a key, the end of the terminal, SIGINT,
// SIGTERM and SIGHUP.
package top
