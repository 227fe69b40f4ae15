/*
 * echo.c without a C library: _start and three system calls.
 *
 * A C library prepares itself before main. glibc asks the processor what it
 * is with dozens of CPUID instructions, and under a hypervisor each of them is
 * an exit to the host; on such machines that alone can cost three times as
 * much as the kernel's share of the spawn. It is the same for every server, so
 * it hides what the servers do.
 */
static char buffer[64 * 1024];

#if defined __x86_64__
enum { SYS_READ = 0, SYS_WRITE = 1, SYS_EXIT = 231 };

static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined __aarch64__
enum { SYS_READ = 63, SYS_WRITE = 64, SYS_EXIT = 94 };

static long call(long number, long a, long b, long c)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}
#else
#error "no system calls for this processor"
#endif

#define INTERRUPTED -4

void _start(void)
{
	for (;;) {
		long got = call(SYS_READ, 0, (long)buffer, sizeof buffer);
		if (got == INTERRUPTED)
			continue;
		if (got <= 0)
			call(SYS_EXIT, got < 0, 0, 0);
		for (long sent = 0; sent < got;) {
			long n = call(SYS_WRITE, 1, (long)buffer + sent, got - sent);
			if (n == INTERRUPTED)
				continue;
			if (n < 0)
				call(SYS_EXIT, 1, 0, 0);
			sent += n;
		}
	}
}
