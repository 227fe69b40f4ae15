#include "textflag.h"

// The offset of uc_sigmask in struct ucontext (arch/arm64/include/uapi/asm/ucontext.h),
// and numbers of system calls (include/uapi/asm-generic/unistd.h).
#define uc_sigmask 40
#define SYS_kill 129
#define SYS_getpid 172

// onSticky is a handler of signals: R0 is the signal, R2 the context that it returns to.
// It does not run on a stack of Go's, so it uses none, and changes only what every
// function may.
TEXT onSticky<>(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD ·stickyMasks+0(SB), R3
	MOVD ·stickyMasks+8(SB), R4
	MOVD uc_sigmask(R2), R5
	ORR  R3, R5
	BIC  R4, R5
	MOVD R5, uc_sigmask(R2)
	MOVD R0, R1
	SUB  $1, R0, R6
	LSR  R6, R3, R3
	TBZ  $0, R3, done
	MOVD $SYS_getpid, R8
	SVC
	MOVD $SYS_kill, R8
	SVC
done:
	RET

// func stickyHandler() uintptr
TEXT ·stickyHandler(SB),NOSPLIT,$0-8
	MOVD $onSticky<>(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func stickyRestorer() uintptr
TEXT ·stickyRestorer(SB),NOSPLIT,$0-8
	MOVD ZR, ret+0(FP)
	RET
