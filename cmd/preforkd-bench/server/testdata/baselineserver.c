/*
 * The baseline of serving every connection from a freshly executed program:
 * accept, vfork, exec, wait, and nothing else. No policy, no log, no limit.
 * No server that does more can be faster by anything but luck.
 *
 * Usage: baselineserver PORT PROGRAM. The connection is the program's fd 0, 1 and 3.
 */
#define _GNU_SOURCE
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

	if (argc != 3) {
		fprintf(stderr, "usage: baselineserver PORT PROGRAM\n");
		return 2;
	}
	local.sin_port = htons(atoi(argv[1]));
	local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

	memset(&action, 0, sizeof action);
	action.sa_handler = collect;
	action.sa_flags = SA_RESTART;
	sigaction(SIGCHLD, &action, NULL);

	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0)
		fail("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&local, sizeof local) < 0)
		fail("bind");
	if (listen(listener, SOMAXCONN) < 0)
		fail("listen");

	char *const arguments[] = {argv[2], NULL};
	char *const environment[] = {NULL};
	for (;;) {
		int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (conn < 0) {
			if (errno != EINTR)
				perror("accept");
			continue;
		}
		pid_t child = vfork();
		if (child == 0) {
			/* Out of the way of 3 first: dup2 onto itself would keep
			 * the close-on-exec flag. */
			int end = dup(conn);
			dup2(end, 0);
			dup2(end, 1);
			dup2(end, 3);
			if (end > 3)
				close(end);
			execve(argv[2], arguments, environment);
			_exit(127);
		}
		if (child < 0)
			perror("vfork");
		close(conn);
	}
}
