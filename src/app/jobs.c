/* jobs.c - processes beside this one, for `bracket sweep`: bk.internal.jobs = { start, wait, hold, release,
 * interrupted }. Only the program has it; the library starts no processes. A job gets an argument vector, never a
 * shell, an empty standard input, and one file for its output and its errors. It is in the program's process group, so
 * that a terminal's Ctrl-C, Ctrl-Z and hang-up reach it as well; on Linux it gets a SIGTERM when the program is killed.
 * Lua sees no interrupt while jobs are held: it asks, and what has ended by then can still be written down. */
#include "../bind/lock.h"
#include "../base/clock.h"
#include "../ranks/launcher.h"
#include "app.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { RUNNING_MOST = 256, POLL_MS = 20, PASS_ON_MS = 200, KILL_MS = 500 };

typedef struct job {
    pid_t pid;
    lua_Integer id;
    double began;
} job;

static job running[RUNNING_MOST];
static int running_n;
static lua_Integer last_id;

/* ---- signals ---- */

static const int held_signals[] = { ENDING_SIGNALS(SIGNAL_NUMBER), SIGPIPE };
enum { HELD = sizeof held_signals / sizeof *held_signals };
static struct sigaction before[HELD];
static bool held;

static volatile sig_atomic_t came;    /* a signal since the last look */
static volatile sig_atomic_t for_all; /* ... a terminal's, which the jobs have too */
static volatile sig_atomic_t at_once; /* ... one that asks for the end, not Ctrl-C */
static volatile sig_atomic_t which;   /* the first one */
static bool stopping;                 /* the first one was seen */
static double stopped, pass_on;       /* when; when the jobs get theirs, 0: they have it */

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)context;
    for_all = info->si_code > 0 && info->si_code != SI_USER;
    at_once = number != SIGINT;
    if (!which) which = number;
    came = 1;
}

/* What ends a job as this program is asked to end. SIGINT is ignored by one that waits for a command of its own
 * (os.execute), so that only Ctrl-C is passed on as that. */
static int gentle(void) {
    return which == SIGINT ? SIGINT : SIGTERM;
}

static void signal_jobs(int number) {
    for (int i = 0; i < running_n; i++) kill(running[i].pid, number);
}

/* The first signal ends the jobs as Ctrl-C does. One sent to a process may have been sent to the whole group or to this
 * process alone: the jobs have a moment to end by theirs, since a second one would break off their clean-up. When
 * another comes later, they are killed. */
static void look(void) {
    double t = clock_seconds();
    if (came) {
        came = 0;
        if (!stopping) {
            stopping = true;
            stopped = t;
            pass_on = for_all ? 0 : at_once ? t : t + 1e-3 * PASS_ON_MS;
        } else if (t > stopped + 1e-3 * KILL_MS)
            signal_jobs(SIGKILL);
    }
    if (pass_on > 0 && t >= pass_on) {
        pass_on = 0;
        signal_jobs(gentle());
    }
}

static int jobs_hold(lua_State *L) { /* hold(): from now on signals end the jobs, not this program */
    (void)L;
    if (held) return 0;
    int fd; /* a job's files must not get the number of a standard stream that is closed */
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO) {}
    if (fd >= 0) close(fd);
    struct sigaction ours = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
    sigemptyset(&ours.sa_mask);
    stopping = false;
    pass_on = 0;
    came = 0;
    which = 0;
    held = true;
    for (int i = 0; i < HELD; i++) {
        sigaction(held_signals[i], NULL, &before[i]);
        if (held_signals[i] == SIGPIPE) { /* a reader of the progress that went away ends no job */
            struct sigaction ignore = { .sa_handler = SIG_IGN };
            sigaction(SIGPIPE, &ignore, NULL);
        } else if (before[i].sa_handler != SIG_IGN) /* nohup */
            sigaction(held_signals[i], &ours, NULL);
    }
    return 0;
}

static int jobs_interrupted(lua_State *L) { /* interrupted(): nil, or the exit status that the signal asks for */
    look();
    if (!stopping) return 0;
    lua_pushinteger(L, which == SIGINT ? 130 : 75);
    return 1;
}

/* ---- start and wait ---- */

/* Without what a rank is told about itself: a job is a process of its own, and were it an MPI program, it would take
 * its starter's place. NULL-ended; the userdata pushed holds it. */
static char **job_environment(lua_State *L) {
    size_t n = 0;
    while (environ && environ[n]) n++;
    char **list = lua_newuserdatauv(L, (n + 1) * sizeof *list, 0), **end = list;
    for (size_t i = 0; i < n; i++)
        if (!launcher_told(environ[i])) *end++ = environ[i];
    *end = NULL;
    return list;
}

static char **job_arguments(lua_State *L, int table) {
    lua_Integer n = luaL_len(L, table);
    luaL_argcheck(L, n > 0, table, "no program");
    char **list = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *list, 0);
    for (lua_Integer i = 1; i <= n; i++) {
        if (lua_rawgeti(L, table, i) != LUA_TSTRING) luaL_error(L, "argument %I is no string", (LUAI_UACINT)i);
        list[i - 1] = (char *)(uintptr_t)lua_tostring(L, -1); /* the table keeps it */
        lua_pop(L, 1);
    }
    list[n] = NULL;
    return list;
}

/* In the child: nothing but calls that are safe after a fork. Returns when the program could not be run. */
static void become(char **arguments, char **environment, int output, int claim, pid_t parent) {
    const int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;
    for (int i = 0; i < HELD; i++) { /* what was ignored before hold() stays so */
        const struct sigaction standard = { .sa_handler = SIG_DFL };
        if (!held || before[i].sa_handler != SIG_IGN) sigaction(held_signals[i], &standard, NULL);
    }
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGTERM);
#endif
    if (getppid() != parent) _exit(0); /* it died before that was asked for */
    if (dup2(empty, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0) return;
    if (claim >= 0) fcntl(claim, F_SETFD, 0); /* the job holds the claim too, also when its starter is gone */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    environ = environment;
    execvp(arguments[0], arguments);
}

/* No Lua in here: nothing may be raised while files are open. 0 or an error number, which the child tells through a
 * pipe that closes when its program begins. */
static int spawn(char **arguments, char **environment, int output, int claim, pid_t *pid) {
    int ends[2], why = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) return errno;
    sigset_t all, mask;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask); /* the child has this program's handlers until it has its own */
    const pid_t parent = getpid();
    *pid = fork();
    if (*pid == 0) {
        become(arguments, environment, output, claim, parent);
        why = errno;
        _exit(write(ends[1], &why, sizeof why) < 0 ? 126 : 127);
    }
    if (*pid < 0) why = errno;
    sigprocmask(SIG_SETMASK, &mask, NULL);
    close(ends[1]);
    while (*pid > 0 && read(ends[0], &why, sizeof why) < 0 && errno == EINTR) {}
    close(ends[0]);
    if (*pid > 0 && why) waitpid(*pid, NULL, 0);
    return why;
}

/* start({program, argument, ...}, output [, lock]): the job's id, or nil and why not. The program is looked for in
 * PATH. The lock is held until the job ends, whatever becomes of this program. */
static int jobs_start(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *path = luaL_checkstring(L, 2);
    if (running_n == RUNNING_MOST) return luaL_error(L, "more than %d jobs at a time", RUNNING_MOST);
    char **arguments = job_arguments(L, 1), **environment = job_environment(L);
    int output = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (output < 0) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s: %s", path, strerror(errno));
        return 2;
    }
    job *j = &running[running_n];
    int rc = spawn(arguments, environment, output, bind_lock_descriptor(L, 3), &j->pid);
    close(output);
    if (rc) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s: %s", arguments[0], strerror(rc));
        return 2;
    }
    j->id = ++last_id;
    j->began = clock_seconds();
    running_n++;
    if (came || stopping) kill(j->pid, gentle()); /* it may have missed a terminal's */
    lua_pushinteger(L, j->id);
    return 1;
}

/* Waits for one job, at most so long, by asking for each: other children of this process (io.popen) are not ours to
 * collect. Asking again and again, not in a blocked call: a signal may come just before that call, or to a thread of
 * OpenBLAS. */
static bool next_ended(job *ended, int *status, double seconds) {
    const double limit = clock_seconds() + seconds;
    for (long ms = 1; running_n > 0 && clock_seconds() < limit; ms = ms < POLL_MS / 2 ? 2 * ms : POLL_MS) {
        look();
        for (int i = 0; i < running_n; i++) {
            pid_t got = waitpid(running[i].pid, status, WNOHANG);
            if (got == 0 || (got < 0 && errno == EINTR)) continue;
            if (got < 0) *status = 0xff00; /* taken from us: exit status 255 */
            *ended = running[i];
            running[i] = running[--running_n];
            return true;
        }
        nanosleep(&(struct timespec){ 0, ms * 1000000L }, NULL);
    }
    return false;
}

/* wait(seconds): the id of a job that ended, its exit status or nil, the signal that ended it or nil, and how many
 * seconds it took; nil when none did */
static int jobs_wait(lua_State *L) {
    job ended;
    int status = 0;
    if (!next_ended(&ended, &status, luaL_checknumber(L, 1))) return 0;
    lua_pushinteger(L, ended.id);
    lua_pushnil(L);
    lua_pushnil(L);
    if (WIFSIGNALED(status))
        lua_pushinteger(L, WTERMSIG(status));
    else
        lua_pushinteger(L, WEXITSTATUS(status));
    lua_replace(L, WIFSIGNALED(status) ? -2 : -3);
    lua_pushnumber(L, clock_seconds() - ended.began);
    return 4;
}

static int jobs_release(lua_State *L) { /* release(): ends the jobs that still run; signals are as before hold() */
    (void)L;
    job ended;
    int status;
    signal_jobs(SIGTERM);
    while (next_ended(&ended, &status, 1e9)) {}
    for (int i = 0; held && i < HELD; i++) sigaction(held_signals[i], &before[i], NULL);
    held = false;
    return 0;
}

void jobs_push(lua_State *L) {
    static const luaL_Reg functions[] = { { "start", jobs_start },
                                          { "wait", jobs_wait },
                                          { "hold", jobs_hold },
                                          { "release", jobs_release },
                                          { "interrupted", jobs_interrupted },
                                          { NULL, NULL } };
    luaL_newlib(L, functions);
}
