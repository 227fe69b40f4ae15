// Package config turns what a person has written, on the command line or in a
// file, into a validated Config.
//
// It owns the keys: their names, values, defaults and limits. It looks at the
// files and accounts that a configuration names. Apart from that it is pure: it
// binds nothing, starts nothing and changes nothing. Every error that it
// returns is for the person who wrote the configuration. It says what was
// found, what is allowed, and where.
//
// A load after another one takes from there what the file says as it did, unless
// something else goes into it that has changed. It returns what a load by itself
// would, and the same errors.
package config
