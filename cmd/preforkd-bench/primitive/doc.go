// Package primitive measures what a machine takes for the things that servers
// are made of: the start of a program, a page fault, a CPUID instruction, a
// system call, a context switch, a nap.
//
// A run begins with it, and every table stands under what it has found. These
// times differ between machines, and not all by the same factor: a machine on
// which CPUID is dear and page faults are cheap has other ratios between
// servers than one on which it is the other way round.
package primitive
