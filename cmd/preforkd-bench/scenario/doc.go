// Package scenario runs the comparison: which loads, with which servers, in
// which order, how often.
//
// Each measurement starts its server fresh, warms it up, loads it, waits until
// it is at rest, and stops it. Servers take turns within a round, and each
// round begins with another one, so that what changes on the machine meanwhile
// meets all of them. Ratios are taken within rounds.
//
// Some scenarios measure what is no server of the table: programs that are
// started (spawn.go), one master with more and more services (services.go),
// masters that refuse (refusals.go). These are their rows.
package scenario
