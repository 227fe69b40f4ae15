// Command testworker is a program that is built on the SDK. Each of its handlers shows
// one feature. Process tests run it.
package main
