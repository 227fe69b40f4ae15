// Package goal holds what preforkd promises in numbers, as data, and compares
// a record with it. Every goal is a ratio within one run, or a number that no
// machine's speed changes; the single exception says so.
package goal
