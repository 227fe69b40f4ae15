/*
 * The baseline of handing connections to processes that are there already: a
 * master accepts, passes the socket to an idle one of its workers, and hears
 * from it when the connection is over. No policy, no log, no limit but the
 * number of workers, and it accepts only while one of them is idle. No server
 * whose master accepts for its workers can be faster by anything but luck.
 *
 * Usage: baselinefdpass PORT [PROGRAM]. It listens on 127.0.0.1. The workers are
 * copies of it, or processes of the program, whose fd 3 is the channel.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORKERS = 16, LISTENER = WORKERS };

static int channels[WORKERS]; /* the master's ends */
static int idle[WORKERS], idlers;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* One message passes one connection: a byte, because a message must not be
 * empty, with the descriptor attached (unix(7)). */
union attachment {
	char space[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static void pass(int channel, int conn)
{
	char byte = 0;
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	union attachment attachment = {0};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = attachment.space, .msg_controllen = sizeof attachment.space,
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof conn);
	memcpy(CMSG_DATA(header), &conn, sizeof conn);
	if (sendmsg(channel, &message, 0) < 0)
		fail("sendmsg");
}

/* receive returns a connection, or -1 when the master is gone. */
static int receive(int channel)
{
	char byte;
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	union attachment attachment;
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = attachment.space, .msg_controllen = sizeof attachment.space,
	};
	int conn;

	ssize_t got = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
	if (got < 0)
		fail("recvmsg");
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (got == 0 || header == NULL)
		return -1;
	memcpy(&conn, CMSG_DATA(header), sizeof conn);
	return conn;
}

static void echo(int conn)
{
	static char buffer[64 * 1024];
	ssize_t got;

	while ((got = read(conn, buffer, sizeof buffer)) > 0)
		for (ssize_t sent = 0; sent < got;) {
			ssize_t n = write(conn, buffer + sent, got - sent);
			if (n < 0)
				return;
			sent += n;
		}
}

static void work(int channel)
{
	int conn;

	/* A client that is gone ends its connection and not the worker. */
	signal(SIGPIPE, SIG_IGN);
	while ((conn = receive(channel)) >= 0) {
		echo(conn);
		close(conn);
		if (send(channel, "", 1, 0) < 0)
			break;
	}
	_exit(0);
}

static void watch(int set, int operation, int fd, int key, int events)
{
	struct epoll_event event = {.events = events, .data.fd = key};

	if (epoll_ctl(set, operation, fd, &event) < 0)
		fail("epoll_ctl");
}

/* become turns a worker into a program. */
static void become(int channel, char *program)
{
	char *const arguments[] = {program, NULL};
	char *const environment[] = {NULL};

	/* Out of the way of 3 first: dup2 onto itself would keep the
	 * close-on-exec flag. */
	int end = dup(channel);
	dup2(end, 3);
	if (end > 3)
		close(end);
	execve(program, arguments, environment);
	fail(program);
}

static void employ(int set, char *program)
{
	for (int i = 0; i < WORKERS; i++) {
		int ends[2];
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
			fail("socketpair");
		pid_t child = fork();
		if (child < 0)
			fail("fork");
		if (child == 0) {
			/* Held by a worker, the master's ends would hide from
			 * the others that the master is gone. */
			for (int j = 0; j < i; j++)
				close(channels[j]);
			close(ends[0]);
			close(set);
			if (program)
				become(ends[1], program);
			work(ends[1]);
		}
		close(ends[1]);
		channels[i] = ends[0];
		watch(set, EPOLL_CTL_ADD, ends[0], i, EPOLLIN);
		idle[idlers++] = i;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in local = {.sin_family = AF_INET};
	int one = 1;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: baselinefdpass PORT [PROGRAM]\n");
		return 2;
	}
	local.sin_port = htons(atoi(argv[1]));
	local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

	int set = epoll_create1(EPOLL_CLOEXEC);
	if (set < 0)
		fail("epoll_create1");
	employ(set, argv[2]);

	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener < 0)
		fail("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&local, sizeof local) < 0)
		fail("bind");
	if (listen(listener, SOMAXCONN) < 0)
		fail("listen");
	watch(set, EPOLL_CTL_ADD, listener, LISTENER, EPOLLIN);

	for (int listening = 1;;) {
		struct epoll_event events[WORKERS + 1];
		int n = epoll_wait(set, events, WORKERS + 1, -1);
		if (n < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < n; i++) {
			int key = events[i].data.fd;
			if (key != LISTENER) {
				char byte;
				if (recv(channels[key], &byte, 1, 0) != 1)
					fail("receive from worker");
				idle[idlers++] = key;
				continue;
			}
			int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (conn < 0) {
				if (errno != EAGAIN && errno != EINTR)
					perror("accept");
				continue;
			}
			pass(channels[idle[--idlers]], conn);
			close(conn);
		}
		if (listening != (idlers > 0)) {
			listening = idlers > 0;
			watch(set, EPOLL_CTL_MOD, listener, LISTENER, listening ? EPOLLIN : 0);
		}
	}
}
