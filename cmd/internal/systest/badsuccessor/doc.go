// Command badsuccessor is a program that a master is told to upgrade to, and that cannot
// take over. Its name says why. Process tests run copies of it.
package main
