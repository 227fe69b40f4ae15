// Package needtest skips tests that need something which the machine lacks. CI=true
// says that the machine is for tests and has everything installed (.ci/run). There
// nothing is skipped, and a missing thing is a failure. Only tests import this package.
package needtest
