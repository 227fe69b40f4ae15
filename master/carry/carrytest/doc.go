// Package carrytest compares the states of rooms. It belongs to tests only.
package carrytest
