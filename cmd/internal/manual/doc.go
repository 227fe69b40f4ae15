// Package manual writes the manual pages of preforkd: one for the program, one
// for each of its commands, and one for the configuration file, from the same
// texts that --help and the configuration's messages come from.
//
// The pages are written as man(7) macros directly. The generator that comes
// with cobra goes by way of Markdown, for which the texts are not written: it
// would take [v6]:port for a link, <FILE for HTML and tables for paragraphs.
//
// Pages are reproducible: they depend on the program and on a date, which is
// SOURCE_DATE_EPOCH (reproducible-builds.org) or left out.
package manual
