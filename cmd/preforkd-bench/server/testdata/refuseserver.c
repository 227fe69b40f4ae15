/*
 * The floor of refusing connections: accept and close, and nothing else. It
 * decides nothing and counts nothing.
 *
 * Usage: refuseserver PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in local = {.sin_family = AF_INET};
	int one = 1;

	if (argc != 2) {
		fprintf(stderr, "usage: refuseserver PORT\n");
		return 2;
	}
	local.sin_port = htons(atoi(argv[1]));
	local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0)
		fail("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&local, sizeof local) < 0)
		fail("bind");
	if (listen(listener, SOMAXCONN) < 0)
		fail("listen");
	for (;;) {
		int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (conn >= 0)
			close(conn);
		else if (errno != EINTR && errno != ECONNABORTED)
			fail("accept");
	}
}
