// Command handlers is a program built on the SDK, with handlers that show one
// thing each. Process tests run it.
package main
