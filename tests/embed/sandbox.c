/* sandbox.c - a host for scripts nobody trusts: each runs restricted in a child process of its own, which has so much
 * memory and processor time and may no longer open, connect or start anything. One number comes back over a pipe. */
#include "bracket.h"
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#else
#define ARCH AUDIT_ARCH_AARCH64
#endif
#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define FIELD(name) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, name))

/* From here on memory, writing to what is open, clocks and the end: all else fails with EPERM. */
static int close_doors(void) {
    struct sock_filter rules[] = {
        FIELD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
        FIELD(nr), ALLOW(write), ALLOW(brk), ALLOW(mmap), ALLOW(munmap), ALLOW(mremap), ALLOW(madvise), ALLOW(futex),
        ALLOW(sched_yield), ALLOW(getpid), ALLOW(clock_gettime), ALLOW(rt_sigprocmask), ALLOW(rt_sigreturn),
        ALLOW(sigaltstack), ALLOW(exit), ALLOW(exit_group), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog program = { sizeof rules / sizeof *rules, rules };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int escape(lua_State *L) { /* what code that broke out of Lua would try first */
    lua_pushboolean(L, open("/etc/passwd", O_RDONLY) >= 0 || errno != EPERM || fork() != -1);
    return 1;
}

typedef struct answer {
    bk_status status;
    double number;
} answer;

static void child(const char *script, int out) {
    answer a = { BK_ENOMEM, 0 };
    bk_view view;
    rlim_t bytes = (rlim_t)2 << 30, seconds = 2; /* should memory_limit have a hole; for what is no Lua */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ /* which take both for themselves */
    bytes = RLIM_INFINITY, seconds = 20;
#endif
    setrlimit(RLIMIT_AS, &(struct rlimit){ bytes, bytes }), setrlimit(RLIMIT_CPU, &(struct rlimit){ seconds, seconds });
    bk_env *env = bk_open(&(bk_options){ .restricted = 1, .memory_limit = 256u << 20, .step_limit = 100000000 });
    if (env) lua_register(bk_lua(env), "escape", escape);
    /* a first product: libraries start their threads while they still can */
    if (env && !bk_dostring(env, "bk.ones{300, 300}:matmul(bk.ones{300, 300})", NULL) && !close_doors()) {
        a.status = bk_dostring(env, script, "script");
        if (!a.status && !(a.status = bk_get_tensor(env, "result", &view))) a.number = *(double *)view.data;
    }
    _exit(write(out, &a, sizeof a) != sizeof a); /* the kernel frees all; finalizers have no say */
}

/* The script's answer; what ended it without one is *signal. */
static answer run(const char *script, int *signal) {
    answer a = { BK_ERUNTIME, 0 };
    int ends[2], status = 0;
    if (pipe(ends)) return a;
    const pid_t pid = fork();
    if (pid == 0) child(script, ends[1]);
    close(ends[1]);
    if (read(ends[0], &a, sizeof a) != sizeof a) a.status = BK_ERUNTIME;
    close(ends[0]);
    waitpid(pid, &status, 0);
    *signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return a;
}

int main(void) {
    static const struct { const char *script; bk_status status; } cases[] = {
        { "local a = bk.ones{60, 60} result = bk.tensor{ a:matmul(a):sum():item() }", BK_OK },
        { "while true do end", BK_ELIMIT },
        { "local t = {} while true do t = { t, ('x'):rep(1000) } end", BK_ENOMEM },
        { "('a'):rep(40):find(('a*'):rep(40) .. 'b')", BK_ERUNTIME }, /* ended by the kernel */
        { "bk.load_npy('/etc/passwd')", BK_ERUNTIME },
        { "result = bk.tensor{ escape() and 1 or 0 }", BK_OK },
    };
    int passed = 0, failed = 0, signal = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const answer a = run(cases[i].script, &signal);
        const int ok = a.status == cases[i].status && (i == 3) == (signal != 0) && a.number == (i ? 0 : 216000);
        ok ? passed++ : failed++;
        if (!ok) printf("FAILED: %s: status %d, signal %d, %g\n", cases[i].script, a.status, signal, a.number);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
