// Command preforkd-bench compares preforkd with the servers that people use
// instead, side by side on one machine, and guards its speed.
//
//	preforkd-bench [--short] [--json FILE]   run everything and print tables
//	preforkd-bench --targets [--short] ...   only what targets are about
//	preforkd-bench check                     exit 1 when preforkd does more for a connection than was recorded
//	preforkd-bench counts [--record]         the part of check that counts, or record the numbers anew
//	preforkd-bench list                      servers and scenarios, and what is missing
//	preforkd-bench show FILE                 print the tables of a kept run
//	preforkd-bench reduce FILE               a kept run without its single rounds
//	preforkd-bench document                  write the kept runs into the documents
//
// This package parses command lines; packages below it do the work: load makes
// connections, proc runs processes and reads their cost, server knows the
// servers, nspawn boots a systemd and unit runs those that are units of one,
// primitive measures the machine, scenario puts them together, counts counts
// what a master does for a connection, result keeps what was measured and
// compares it with targets, report presents it.
package main
