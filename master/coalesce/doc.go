// Package coalesce runs an expensive query for many callers at a bounded rate.
// It owns who waits for which run of the query, and knows nothing of what is
// asked.
package coalesce
