/*
 * A program for fds 0 and 1: sends back what it receives until end of file.
 * Every server that starts a program per connection starts this one, static
 * and without stdio, so that what is compared is the server.
 */
#include <errno.h>
#include <unistd.h>

static char buffer[64 * 1024];

int main(void)
{
	for (;;) {
		ssize_t got = read(0, buffer, sizeof buffer);
		if (got == 0)
			return 0;
		if (got < 0) {
			if (errno == EINTR)
				continue;
			return 1;
		}
		for (ssize_t sent = 0; sent < got;) {
			ssize_t n = write(1, buffer + sent, got - sent);
			if (n < 0) {
				if (errno == EINTR)
					continue;
				return 1;
			}
			sent += n;
		}
	}
}
