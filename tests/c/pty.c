/* pty.c - drives a program on a pseudo-terminal: pty PROGRAM [ARGS], with a script on standard input.
 *   send TEXT         types it (escapes: \r \n \t \e \\ \xHH)
 *   expect MS TEXT    waits for TEXT in the output after the last match; prints the milliseconds it took
 *   none MS TEXT      fails when TEXT comes within MS
 *   sleep MS
 *   suspend           as Ctrl-Z and fg in a shell do: stops it, gives the terminal line mode, lets it go on
 *   interrupt         SIGINT to its newest thread, as the system may choose any that takes it
 *   exit MS           waits for the program's end; prints `exit STATUS`
 * Exit status 0; 1 when an expectation fails, with what came instead. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 1 << 22 };
static char output[SIZE];
static size_t length, matched;
static int master;
static pid_t child;

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int pump(int timeout) { /* reads what is there; 0 at the end of the program's output */
    struct pollfd p = { .fd = master, .events = POLLIN };
    if (poll(&p, 1, timeout) <= 0) return 1;
    if (length + 4096 >= SIZE) {
        memmove(output, output + matched, length -= matched);
        matched = 0;
    }
    ssize_t n = read(master, output + length, 4096);
    if (n <= 0) return n < 0 && errno == EINTR;
    length += (size_t)n;
    output[length] = 0;
    for (char *at; (at = strstr(output + matched, "\033[?2004"));) { /* bracketed paste on and off: not text */
        size_t place = (size_t)(at - output), size = 8;
        if (place + size > length) break;
        memmove(at, at + size, length - place - size + 1);
        length -= size;
    }
    return 1;
}

static size_t unescape(char *s) {
    char *out = s, *start = s;
    for (; *s; s++) {
        if (*s != '\\') {
            *out++ = *s;
            continue;
        }
        switch (*++s) {
        case 'r': *out++ = '\r'; break;
        case 'n': *out++ = '\n'; break;
        case 't': *out++ = '\t'; break;
        case 'e': *out++ = 27; break;
        case 'x': {
            char hex[3] = { s[1], s[2], 0 };
            *out++ = (char)strtol(hex, NULL, 16);
            s += 2;
            break;
        }
        default: *out++ = *s;
        }
    }
    *out = 0;
    return (size_t)(out - start);
}

static int find(const char *text, size_t n) {
    char *at = memmem(output + matched, length - matched, text, n);
    if (!at) return 0;
    matched = (size_t)(at - output) + n;
    return 1;
}

static int fail(const char *what, const char *text) {
    printf("FAILED: %s [%s]; after the last match came [%.*s]\n", what, text, (int)(length - matched), output + matched);
    kill(child, SIGKILL);
    return 1;
}

int main(int argc, char **argv) {
    static char line[1 << 16];
    struct winsize window = { .ws_row = 40, .ws_col = 120 };
    if (argc < 2) return 2;
    child = forkpty(&master, NULL, NULL, &window);
    if (child < 0) return 2;
    if (child == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *rest = line;
        char *word = strsep(&rest, " ");
        if (!*word || *word == '#') continue;
        if (strcmp(word, "send") == 0) {
            size_t n = unescape(rest ? rest : ""), done = 0;
            while (done < n) {
                ssize_t k = write(master, rest + done, n - done > 500 ? 500 : n - done);
                if (k < 0) return fail("cannot send", rest);
                done += (size_t)k;
                if (done < n) pump(5);
            }
            continue;
        }
        if (strcmp(word, "suspend") == 0) {
            struct termios mode;
            int status;
            kill(child, SIGSTOP);
            waitpid(child, &status, WUNTRACED);
            tcgetattr(master, &mode);
            mode.c_lflag |= ICANON | ECHO;
            tcsetattr(master, TCSANOW, &mode);
            kill(child, SIGCONT);
            continue;
        }
        if (strcmp(word, "interrupt") == 0) {
            char path[64];
            long newest = child;
            snprintf(path, sizeof path, "/proc/%d/task", (int)child);
            DIR *tasks = opendir(path);
            for (struct dirent *d; tasks && (d = readdir(tasks));)
                if (atol(d->d_name) > newest) newest = atol(d->d_name);
            if (tasks) closedir(tasks);
            syscall(SYS_tgkill, child, newest, SIGINT);
            continue;
        }
        double limit = strtod(rest, &rest), from = now_ms();
        if (*rest == ' ') rest++;
        if (strcmp(word, "exit") == 0) {
            int status = 0;
            while (pump(20) && now_ms() - from < limit) {}
            while (waitpid(child, &status, WNOHANG) == 0) {
                if (now_ms() - from > limit) return fail("no exit", "");
                usleep(2000);
            }
            printf("exit %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
            return 0;
        }
        size_t n = unescape(rest);
        int came = 0;
        if (strcmp(word, "sleep") == 0)
            while (now_ms() - from < limit) pump(5);
        else {
            while (!(came = find(rest, n)) && now_ms() - from < limit && pump(2)) {}
            if (!came) came = find(rest, n);
            if (strcmp(word, "expect") == 0) {
                if (!came) return fail("missing", rest);
                printf("%.1f\n", now_ms() - from);
            } else if (came) return fail("unwanted", rest);
        }
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
