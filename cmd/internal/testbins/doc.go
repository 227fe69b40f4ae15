// Command testbins builds the programs that tests run into a directory. `make
// test` uses it, so that not every package builds them anew; see package systest.
package main
