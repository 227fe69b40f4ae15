// Command preforkd-bench compares preforkd with the servers that people use
// instead, side by side on one machine.
//
//	preforkd-bench [--short] [--json FILE]   run everything and print tables
//	preforkd-bench --goals [--short] ...     only what goals are about
//	preforkd-bench list                      servers and scenarios, and what is missing
//	preforkd-bench show FILE                 print the tables of a kept run
//	preforkd-bench chart FILE                draw a kept run as SVG
//	preforkd-bench markdown FILE             print its servers, or --goals, as a Markdown table
//	preforkd-bench check FILE                exit 1 when a ratio is worse than its bound
//	preforkd-bench install                   install the other servers, Debian packages
//
// This package parses command lines; packages below it do the work: load makes
// connections, proc runs processes and reads their cost, server knows the
// servers, nspawn boots a systemd and unit runs those that are units of one,
// scenario puts them together, result keeps what was measured, stats reduces
// it, goal judges it, show presents it.
package main
