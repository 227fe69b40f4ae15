// Package config turns what a person wrote, on the command line or in a file,
// into a validated Config.
//
// It is pure but for looking at files that a configuration names: it binds
// nothing, starts nothing and changes nothing. Every error it returns is a
// person's mistake and is worded for that person: what was found, what is
// allowed, and where.
package config
