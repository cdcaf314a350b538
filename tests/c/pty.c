/* pty.c - drives a program on a pseudo-terminal: pty PROGRAM [ARGS], with a script on standard input.
 *   send TEXT         types it (escapes: \r \n \t \e \\ \xHH)
 *   expect MS TEXT    waits for TEXT in the output after the last match; prints the milliseconds it took, less those in
 *                     which program and driver stood in line for a core
 *   none MS TEXT      fails when TEXT comes within MS
 *   file MS PATH      waits until a file of that name is there
 *   sleep MS
 *   size COLUMNS      the window's; the program hears of it
 *   rows MS A|B|C     waits until these are the screen's last rows that are not blank, blanks at their ends aside
 *   suspend           as Ctrl-Z and fg in a shell do: stops it, gives the terminal line mode, lets it go on
 *   interrupt         SIGINT to its newest thread, as the system may choose any that takes it
 *   exit MS           waits for the program's end; prints `exit STATUS`
 * MS is what a free core needs: on a busy one it is waited PATIENCE times as long.
 * Exit status 0; 1 when an expectation fails, with what came instead. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 1 << 22, PATIENCE = 20 };
static char output[SIZE];
static size_t length, matched;
static int master;
static pid_t child;

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static double queued_ms(const char *path) {
    FILE *f = fopen(path, "r");
    double waited = 0;
    if (f && fscanf(f, "%*s %lf", &waited) != 1) waited = 0;
    if (f) fclose(f);
    return 1e-6 * waited;
}

/* How long this driver and the program's threads have stood in line for a core by now: another's doing. */
static double queued(void) {
    char path[64];
    double sum = queued_ms("/proc/self/schedstat");
    snprintf(path, sizeof path, "/proc/%d/task", (int)child);
    DIR *tasks = opendir(path);
    for (struct dirent *d; tasks && (d = readdir(tasks));) {
        snprintf(path, sizeof path, "/proc/%d/task/%ld/schedstat", (int)child, atol(d->d_name));
        if (d->d_name[0] != '.') sum += queued_ms(path);
    }
    if (tasks) closedir(tasks);
    return sum;
}

/* ---- the screen ---- */

enum { ROWS = 40, COLUMNS = 300 };
static struct winsize window = { .ws_row = ROWS, .ws_col = 120 };
static char screen[ROWS][COLUMNS]; /* a cell holds a character's first byte */
static int row, column, insert, escape, n_numbers, numbers[8];
static int full; /* the row is full: the next character begins another one */

static void next_row(void) {
    if (++row < ROWS) return;
    row = ROWS - 1;
    memmove(screen[0], screen[1], sizeof screen - sizeof *screen);
    memset(screen[row], ' ', COLUMNS);
}

static void put(char c) {
    if (full) {
        column = full = 0;
        next_row();
    }
    if (insert) memmove(&screen[row][column + 1], &screen[row][column], (size_t)(COLUMNS - column - 1));
    screen[row][column] = c;
    if (++column >= window.ws_col) {
        column = window.ws_col - 1;
        full = 1;
    }
}

static void control(char c) { /* ESC [ numbers c */
    const int n = n_numbers && numbers[0] ? numbers[0] : 1, rest = COLUMNS - column;
    char *here = &screen[row][column];
    if (strchr("ABCDGH", c)) full = 0;
    switch (c) {
    case 'A':
        row = row > n ? row - n : 0;
        break;
    case 'B':
        row = row + n < ROWS ? row + n : ROWS - 1;
        break;
    case 'C':
        column = column + n < window.ws_col ? column + n : window.ws_col - 1;
        break;
    case 'D':
        column = column > n ? column - n : 0;
        break;
    case 'G':
        column = n - 1;
        break;
    case 'H':
        row = n - 1;
        column = n_numbers > 1 && numbers[1] ? numbers[1] - 1 : 0;
        break;
    case 'J':
        memset(here, ' ', (size_t)rest);
        if (row + 1 < ROWS) memset(screen[row + 1], ' ', (size_t)(ROWS - row - 1) * COLUMNS);
        break;
    case 'K':
        memset(here, ' ', (size_t)rest);
        break;
    case 'P':
        if (n >= rest) break;
        memmove(here, here + n, (size_t)(rest - n));
        memset(here + rest - n, ' ', (size_t)n);
        break;
    case '@':
        if (n >= rest) break;
        memmove(here + n, here, (size_t)(rest - n));
        memset(here, ' ', (size_t)n);
        break;
    case 'h':
        insert |= numbers[0] == 4;
        break;
    case 'l':
        insert &= numbers[0] != 4;
        break;
    default:
        break;
    }
}

static void feed(unsigned char c) {
    if (escape == 1) {
        escape = c == '[' ? 2 : 0;
        n_numbers = 0;
        memset(numbers, 0, sizeof numbers);
    } else if (escape == 2) {
        if (c >= '0' && c <= '9') {
            if (n_numbers == 0) n_numbers = 1;
            if (n_numbers <= 8) numbers[n_numbers - 1] = 10 * numbers[n_numbers - 1] + c - '0';
        } else if (c == ';')
            n_numbers++;
        else if (c >= '@') {
            escape = 0;
            control((char)c);
        }
    } else if (c == 27)
        escape = 1;
    else if (c == '\r')
        column = full = 0;
    else if (c == '\n') {
        full = 0;
        next_row();
    } else if (c == '\b') {
        full = 0;
        if (column) column--;
    } else if (c >= ' ' && (c & 0xC0) != 0x80)
        put((char)c);
}

/* Are these the last rows that are not blank? */
static int rows_are(const char *text) {
    int last = ROWS - 1;
    const char *end = text + strlen(text);
    for (;; last--) {
        int used = COLUMNS;
        while (used && screen[last][used - 1] == ' ') used--;
        if (!used && last && end == text + strlen(text)) continue; /* below all */
        const char *from = end;
        while (from > text && from[-1] != '|') from--;
        if (used != (int)(end - from) || memcmp(screen[last], from, (size_t)used) != 0) return 0;
        if (from == text) return 1;
        if (last == 0) return 0;
        end = from - 1;
    }
}

/* ---- the program ---- */

static int pump(int timeout) { /* reads what is there; 0 at the end of the program's output */
    struct pollfd p = { .fd = master, .events = POLLIN };
    if (poll(&p, 1, timeout) <= 0) return 1;
    if (length + 4096 >= SIZE) {
        memmove(output, output + matched, length -= matched);
        matched = 0;
    }
    ssize_t n = read(master, output + length, 4096);
    if (n <= 0) return n < 0 && errno == EINTR;
    for (ssize_t i = 0; i < n; i++) feed((unsigned char)output[length + (size_t)i]);
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
        case 'r':
            *out++ = '\r';
            break;
        case 'n':
            *out++ = '\n';
            break;
        case 't':
            *out++ = '\t';
            break;
        case 'e':
            *out++ = 27;
            break;
        case 'x': {
            char hex[3] = { s[1], s[2], 0 };
            *out++ = (char)strtol(hex, NULL, 16);
            s += 2;
            break;
        }
        default:
            *out++ = *s;
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
    printf("FAILED: %s [%s]; after the last match came [%.*s]\n", what, text, (int)(length - matched),
           output + matched);
    kill(child, SIGKILL);
    return 1;
}

int main(int argc, char **argv) {
    static char line[1 << 16];
    memset(screen, ' ', sizeof screen);
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
        if (strcmp(word, "size") == 0) {
            window.ws_col = (unsigned short)atoi(rest ? rest : "80");
            ioctl(master, TIOCSWINSZ, &window);
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
        const double least = strtod(rest, &rest), from = now_ms(), in_line = queued();
        const double limit = strcmp(word, "none") == 0 || strcmp(word, "sleep") == 0 ? least : PATIENCE * least;
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
        if (strcmp(word, "rows") == 0) {
            while (!(came = rows_are(rest)) && now_ms() - from < limit && pump(2)) {}
            if (came) continue;
            for (int i = 0; i <= row; i++) printf("%3d|%.*s\n", i + 1, window.ws_col, screen[i]);
            return fail("not the last rows", rest);
        }
        if (strcmp(word, "file") == 0) {
            while ((came = access(rest, F_OK) == 0) == 0 && now_ms() - from < limit && pump(5)) {}
            if (!came) return fail("no file", rest);
            continue;
        }
        if (strcmp(word, "sleep") == 0)
            while (now_ms() - from < limit) pump(5);
        else {
            while (!(came = find(rest, n)) && now_ms() - from < limit && pump(2)) {}
            if (!came) came = find(rest, n);
            if (strcmp(word, "expect") == 0) {
                if (!came) return fail("missing", rest);
                const double took = now_ms() - from - (queued() - in_line);
                printf("%.1f\n", took < 0 ? 0 : took);
            } else if (came)
                return fail("unwanted", rest);
        }
    }
    if (getenv("BRACKET_COVERAGE")) { /* a killed program does not leave behind which of its lines ran */
        for (int k = 0; k < 50; k++) {
            if (waitpid(child, NULL, WNOHANG) != 0) return 0;
            if (write(master, k % 2 ? "\4" : "\3", 1) != 1 || !pump(200)) usleep(100000);
        }
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
