// Package slowtest scales the deadlines of tests with the speed of the machine.
//
// A deadline in a test is there to end a test that hangs. A duration that is
// ample on one machine is too short on another, whose processes start ten times
// more slowly. So a test names the duration that is ample on a usual machine,
// and Scale makes it longer where the machine is slower. A pause that a case
// needs, and a time-out that the case is about, are not scaled.
//
// The package belongs to tests and is linked into no program.
package slowtest
