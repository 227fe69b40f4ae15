/*
 * Measures what this machine takes for the things that servers are made of.
 *
 * Usage: primitives [NAME=PROGRAM]...
 *
 * It prints a line "NAME VALUE" for each, in nanoseconds: the median of several
 * batches, each batch short. What takes longer than LIMIT in all is cut short,
 * so that the whole takes less than a second on a slow machine, too.
 *
 *   NAME      vfork, exec of PROGRAM, exit, wait
 *   fault     the first write to a page of anonymous memory
 *   cpuid     a CPUID instruction; only on x86
 *   syscall   a system call that does nothing (getppid)
 *   switch    a change from one process to another on one processor, with the
 *             read and the write of a pipe that bring it about
 *   nap       nanosleep of 20 us, by the clock
 *   napcpu    the same, CPU time of the thread
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined __x86_64__ || defined __i386__
#include <cpuid.h>
#endif

enum { BATCHES = 7, PAGES = 256 };

#define LIMIT 90000000LL /* nanoseconds for one of these, all batches together */

static const char *program; /* of spawn */
static int to_child[2], from_child[2];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static long long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void spawn(int count)
{
	char *const arguments[] = {(char *)program, NULL};
	char *const environment[] = {NULL};

	while (count-- > 0) {
		int status;
		pid_t child = vfork();
		if (child == 0) {
			execve(program, arguments, environment);
			_exit(127);
		}
		if (child < 0)
			fail("vfork");
		if (waitpid(child, &status, 0) != child || status != 0) {
			fprintf(stderr, "%s ended with status %d\n", program, status);
			exit(1);
		}
	}
}

/* The mapping is not part of what is measured, and costs little beside PAGES
 * faults. */
static void fault(int count)
{
	size_t page = sysconf(_SC_PAGESIZE);

	while (count-- > 0) {
		char *memory = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			fail("mmap");
		madvise(memory, PAGES * page, MADV_NOHUGEPAGE);
		for (size_t i = 0; i < PAGES; i++)
			*(volatile char *)(memory + i * page) = 1;
		munmap(memory, PAGES * page);
	}
}

#if defined __x86_64__ || defined __i386__
static void ask_processor(int count)
{
	unsigned a, b, c, d;

	while (count-- > 0)
		__cpuid(0, a, b, c, d);
}
#endif

static void system_call(int count)
{
	while (count-- > 0)
		syscall(SYS_getppid);
}

static void there_and_back(int count)
{
	char byte = 0;

	while (count-- > 0)
		if (write(to_child[1], &byte, 1) != 1 || read(from_child[0], &byte, 1) != 1)
			fail("pipe");
}

static void nap(int count)
{
	struct timespec t = {.tv_nsec = 20000};

	while (count-- > 0)
		nanosleep(&t, NULL);
}

static int smaller(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;
	return x < y ? -1 : x > y;
}

static double median(long long *values, int n)
{
	qsort(values, n, sizeof *values, smaller);
	return values[n / 2];
}

/* Runs batches of count times work, of which each is so many single ones, and
 * prints the median of one. */
static void measure(const char *name, const char *cpu_name, void (*work)(int), int count, int each)
{
	long long wall[BATCHES], cpu[BATCHES], begun = now(CLOCK_MONOTONIC);
	int n = 0;

	work(1); /* what is cold the first time */
	while (n < BATCHES && (n == 0 || now(CLOCK_MONOTONIC) - begun < LIMIT)) {
		long long w = now(CLOCK_MONOTONIC), c = now(CLOCK_THREAD_CPUTIME_ID);
		work(count);
		cpu[n] = now(CLOCK_THREAD_CPUTIME_ID) - c;
		wall[n] = now(CLOCK_MONOTONIC) - w;
		n++;
	}
	printf("%s %.1f\n", name, median(wall, n) / count / each);
	if (cpu_name)
		printf("%s %.1f\n", cpu_name, median(cpu, n) / count / each);
}

/* Two processes on one processor, which wake each other. */
static void switches(void)
{
	cpu_set_t before, one;
	int cpu = sched_getcpu();

	CPU_ZERO(&one);
	CPU_SET(cpu < 0 ? 0 : cpu, &one);
	if (sched_getaffinity(0, sizeof before, &before) < 0 || sched_setaffinity(0, sizeof one, &one) < 0)
		return; /* a system that forbids it; there is no value then */
	if (pipe(to_child) < 0 || pipe(from_child) < 0)
		fail("pipe");
	pid_t child = fork();
	if (child < 0)
		fail("fork");
	if (child == 0) {
		char byte;

		close(to_child[1]);
		close(from_child[0]);
		while (read(to_child[0], &byte, 1) == 1)
			if (write(from_child[1], &byte, 1) != 1)
				break;
		_exit(0);
	}
	close(to_child[0]);
	close(from_child[1]);
	measure("switch", NULL, there_and_back, 300, 2);
	close(to_child[1]);
	close(from_child[0]);
	waitpid(child, NULL, 0);
	sched_setaffinity(0, sizeof before, &before);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *equal = strchr(argv[i], '=');
		if (!equal) {
			fprintf(stderr, "usage: primitives [NAME=PROGRAM]...\n");
			return 2;
		}
		*equal = 0;
		program = equal + 1;
		measure(argv[i], NULL, spawn, 10, 1);
	}
	measure("fault", NULL, fault, 8, PAGES);
#if defined __x86_64__ || defined __i386__
	measure("cpuid", NULL, ask_processor, 100, 1);
#endif
	measure("syscall", NULL, system_call, 10000, 1);
	switches();
	measure("nap", "napcpu", nap, 50, 1);
	return 0;
}
