// Package servicetest makes services and connections for tests, by the real way:
// from a configuration's text. It starts no process, and belongs to tests only.
package servicetest
