/*
 * The source material's own server: a process per connection by fork alone.
 * The child is a copy of the server and echoes through a 1 KiB buffer; a
 * SIGCHLD handler collects the children in a loop. Only the flaws that would
 * end a long run are left out: a failed accept or fork costs one connection,
 * not the server.
 *
 * Usage: forkserver PORT. It listens on 127.0.0.1 and prints every client.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void collect(int sig)
{
	int saved = errno, status;

	(void)sig;
	while (waitpid(-1, &status, WNOHANG) > 0)
		;
	errno = saved;
}

static void serve(int conn)
{
	char buffer[1024];
	ssize_t got;

	while ((got = read(conn, buffer, sizeof buffer)) > 0)
		for (ssize_t sent = 0; sent < got;) {
			ssize_t n = write(conn, buffer + sent, got - sent);
			if (n < 0)
				_exit(1);
			sent += n;
		}
	_exit(got < 0);
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in local = {.sin_family = AF_INET};
	struct sigaction action;
	int one = 1;

	if (argc != 2) {
		fprintf(stderr, "usage: forkserver PORT\n");
		return 2;
	}
	local.sin_port = htons(atoi(argv[1]));
	local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

	memset(&action, 0, sizeof action);
	action.sa_handler = collect;
	action.sa_flags = SA_RESTART;
	sigaction(SIGCHLD, &action, NULL);

	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0)
		fail("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&local, sizeof local) < 0)
		fail("bind");
	if (listen(listener, SOMAXCONN) < 0)
		fail("listen");

	for (;;) {
		struct sockaddr_in peer;
		socklen_t size = sizeof peer;
		int conn = accept(listener, (struct sockaddr *)&peer, &size);
		if (conn < 0) {
			if (errno != EINTR)
				perror("accept");
			continue;
		}
		/* dprintf, not printf: a buffered line would be written once
		 * more by every child that inherits it. */
		dprintf(1, "client %s:%d\n", inet_ntoa(peer.sin_addr), ntohs(peer.sin_port));
		pid_t child = fork();
		if (child == 0) {
			close(listener);
			serve(conn);
		}
		if (child < 0)
			perror("fork");
		close(conn);
	}
}
