#include "textflag.h"

// The offset of uc_sigmask in struct ucontext (include/uapi/asm-generic/ucontext.h), and
// numbers of system calls (arch/x86/entry/syscalls/syscall_64.tbl).
#define uc_sigmask 296
#define SYS_rt_sigreturn 15
#define SYS_getpid 39
#define SYS_kill 62

// onSticky is a handler of signals: DI is the signal, DX the context that it returns to.
// It does not run on a stack of Go's, so it uses none, and changes only what every
// function may.
TEXT onSticky<>(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ ·stickyMasks+0(SB), AX
	MOVQ ·stickyMasks+8(SB), CX
	NOTQ CX
	ORQ  AX, uc_sigmask(DX)
	ANDQ CX, uc_sigmask(DX)
	MOVL DI, SI
	LEAL -1(DI), CX
	BTQ  CX, AX
	JCC  done
	MOVL $SYS_getpid, AX
	SYSCALL
	MOVL AX, DI
	MOVL $SYS_kill, AX
	SYSCALL
done:
	RET

TEXT restorer<>(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVL $SYS_rt_sigreturn, AX
	SYSCALL
	INT  $3

// func stickyHandler() uintptr
TEXT ·stickyHandler(SB),NOSPLIT,$0-8
	LEAQ onSticky<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func stickyRestorer() uintptr
TEXT ·stickyRestorer(SB),NOSPLIT,$0-8
	LEAQ restorer<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET
