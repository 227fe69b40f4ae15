/*
 * Measures what a spawn costs on this machine: vfork, exec, exit, wait, COUNT
 * times in a row.
 *
 * Usage: spawnbaseline COUNT echo|none PROGRAM
 *
 * With "echo" the program gets one end of a socket pair as fds 0, 1 and 3, in
 * which 64 bytes and an end of file already wait, and must send them back.
 *
 * It prints three integers: wall clock, own CPU and the children's CPU, each
 * in nanoseconds for all COUNT spawns together.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static long long wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long cpu(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000LL +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000LL;
}

static void check_echo(int fd, const char *sent, size_t size)
{
	char got[256];
	size_t have = 0;
	ssize_t n;

	while ((n = read(fd, got + have, sizeof got - have)) > 0)
		have += n;
	if (have != size || memcmp(got, sent, size) != 0) {
		fprintf(stderr, "spawnbaseline: the program did not echo\n");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: spawnbaseline COUNT echo|none PROGRAM\n");
		return 2;
	}
	int count = atoi(argv[1]);
	int echo = strcmp(argv[2], "echo") == 0;
	char *const arguments[] = {argv[3], NULL};
	char *const environment[] = {NULL};
	char message[64];

	memset(message, 'm', sizeof message);
	long long start = wall();
	for (int i = 0; i < count; i++) {
		int ends[2] = {-1, -1};
		if (echo) {
			if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
				fail("socketpair");
			if (write(ends[0], message, sizeof message) != sizeof message)
				fail("write");
			shutdown(ends[0], SHUT_WR);
		}
		pid_t child = vfork();
		if (child == 0) {
			if (echo) {
				/* Out of the way of 3 first: dup2 onto itself
				 * would keep the close-on-exec flag. */
				int end = dup(ends[1]);
				dup2(end, 0);
				dup2(end, 1);
				dup2(end, 3);
				if (end > 3)
					close(end);
			}
			execve(argv[3], arguments, environment);
			_exit(127);
		}
		if (child < 0)
			fail("vfork");
		if (echo) {
			close(ends[1]);
			check_echo(ends[0], message, sizeof message);
			close(ends[0]);
		}
		int status;
		if (waitpid(child, &status, 0) != child || status != 0) {
			fprintf(stderr, "spawnbaseline: the program ended with status %d\n", status);
			return 1;
		}
	}
	printf("%lld %lld %lld\n", wall() - start, cpu(RUSAGE_SELF), cpu(RUSAGE_CHILDREN));
	return 0;
}
