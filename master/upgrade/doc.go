// Package upgrade hands a master to another program in the same process: the new
// version of preforkd, or the old one again if the new one turns out not to serve.
//
// The process keeps its pid, its children and its descriptors when it executes a
// program (execve(2)). All that a master knows beside these is a State, which it
// writes into a sealed memfd.
//
// # Steps
//
//	step        where         what                                                    if it fails
//	binary      old program   opens the new binary                                    goes on
//	export      old program   stands still, describes everything, goes on             goes on
//	rehearsal   child         the new binary reads the copy and the configuration     goes on
//	rehearsal   child         the old binary does so, as on the way back              goes on
//	export      old program   stands still, describes everything                      goes on
//	exec        old program   executes the new binary                                 goes on
//	load        new program   reads the State                                         way back
//	config      new program   reads the configuration                                 way back
//	restore     new program   makes all rooms from the State                          way back
//	install     new program   puts the configuration in force as a reload does        way back
//	serve       new program   the loop runs once, the service manager is told         way back
//
// The way back is to execute the old binary, which stays open, with the same State
// and the reason. It is there until the new program serves: for errors, for a panic
// of the goroutine that takes over, and after Timeout. What ends the process at once
// nobody can catch; then the service manager starts it anew, with the listeners that
// it keeps (FDSTORE in sd_notify(3)), and with a Trace of how far the upgrade came.
//
// # Formats
//
// A State has a format with a number (formats). A program reads every format that is in
// its table, and writes each of them, too, so that it can go back to an older version. The
// old program asks the new one which formats it reads before it writes anything.
package upgrade
