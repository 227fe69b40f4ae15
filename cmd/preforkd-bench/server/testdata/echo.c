/*
 * A program for fds 0 and 1: sends back what it receives until end of file.
 * Every server that starts a program per connection starts this one, static
 * and without stdio, so that what is compared is the server.
 *
 * With WRITE_TMP it leaves a file in /tmp first, as a program in a box may.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static char buffer[64 * 1024];

int main(void)
{
#ifdef WRITE_TMP
	int file = open("/tmp/preforkd-bench", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0 || write(file, buffer, 64) != 64 || close(file) < 0)
		return 1;
#endif
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
