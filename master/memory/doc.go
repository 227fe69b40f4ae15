// Package memory gives memory back to the system that the master has used for a while
// and needs no more.
//
// It owns whether that is under way. It does not know what the memory was for, and
// decides only whether it is worth a collection.
package memory
