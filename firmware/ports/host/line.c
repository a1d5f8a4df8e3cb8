/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A serial line of a given speed before a program on the workstation, for rigs without boards:
 *
 *     line BAUD PROGRAM [ARGUMENT...]
 *
 * prints the name of a pseudo-terminal and passes bytes between it and the program's standard input
 * and output, in either direction no faster than a UART with 8 data bits, no parity and one stop
 * bit would: 10 bits a byte. It ends with the program, or when its own standard input ends. Exit
 * codes: 0, 2 usage, 1 anything that the system refuses (named on standard error).
 */
#define _XOPEN_SOURCE 600
#define _DEFAULT_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000u

enum { HELD_BYTES = 1 << 16, BITS_PER_BYTE = 10, STEP_NS = 1000000 };

/* One direction: what has come in and is not yet through. */
typedef struct way {
    int from, to;
    uint64_t byte_ns;  /* that one byte takes on the line */
    uint64_t since_ns; /* when the first byte held began */
    size_t at, size;   /* held[at] is first, size of them */
    int busy;          /* it held something when it was looked at last */
    int full;          /* the reader's side takes nothing now */
    int ended;         /* nothing more comes in */
    uint8_t held[HELD_BYTES];
} way;

static way ways[2];

static int fail(const char *what)
{
    fprintf(stderr, "line: %s: %s\n", what, strerror(errno));
    return 1;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* Takes in what is there. A line that was busy when this process slept goes on from where it was:
 * how late the process gets its turn costs the line nothing. */
static void take(way *w)
{
    if (w->size == 0) {
        w->at = 0;
    } else if (w->at + w->size == HELD_BYTES) {
        memmove(w->held, w->held + w->at, w->size);
        w->at = 0;
    }
    size_t end = w->at + w->size;
    ssize_t got = read(w->from, w->held + end, HELD_BYTES - end);
    if (got <= 0) {
        w->ended = got == 0 || (errno != EINTR && errno != EAGAIN);
        return;
    }
    if (!w->busy) {
        w->since_ns = now_ns();
        w->busy = 1;
    }
    w->size += (size_t)got;
}

/* Lets through what the line had time for; 0 when no reader is left. */
static int pass(way *w)
{
    w->full = 0;
    w->busy = w->size > 0;
    uint64_t most = w->busy ? (now_ns() - w->since_ns) / w->byte_ns : 0;
    size_t part = most < w->size ? (size_t)most : w->size;
    while (part > 0) {
        ssize_t sent = write(w->to, w->held + w->at, part);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            w->full = errno == EAGAIN;
            return w->full;
        }
        w->at += (size_t)sent;
        w->size -= (size_t)sent;
        part -= (size_t)sent;
        w->since_ns += (uint64_t)sent * w->byte_ns;
    }
    return 1;
}

/* Nanoseconds until there is something to do by the clock alone; 0: never. */
static uint64_t patience(const way *w)
{
    if (w->size == 0 || w->full) {
        return w->busy && !w->full; /* has more come meanwhile? then it was never idle */
    }
    uint64_t due = w->since_ns + w->size * w->byte_ns;
    uint64_t now = now_ns();
    uint64_t left = due > now ? due - now : 1;
    return left < STEP_NS ? left : STEP_NS;
}

/* Closing a pseudo-terminal throws away what its other side has not read: gives the host a moment
 * for it. On a busy machine bytes take some time from one side to the other. */
static void linger(int other)
{
    const struct timespec nap = {0, 5 * 1000 * 1000};
    int quiet = 0;
    for (int naps = 0; naps < 1000 && quiet < 20; naps++) {
        int unread;
        nanosleep(&nap, NULL);
        if (ioctl(other, FIONREAD, &unread) != 0) {
            return;
        }
        quiet = unread == 0 ? quiet + 1 : 0;
    }
}

static int serve(int other)
{
    for (;;) {
        fd_set readable;
        fd_set writable;
        FD_ZERO(&readable);
        FD_ZERO(&writable);
        FD_SET(STDIN_FILENO, &readable);
        int highest = STDIN_FILENO;
        uint64_t wait_ns = 0;
        for (int i = 0; i < 2; i++) {
            way *w = &ways[i];
            if (w->size < HELD_BYTES && !w->ended) {
                FD_SET(w->from, &readable);
                highest = w->from > highest ? w->from : highest;
            }
            if (w->full) {
                FD_SET(w->to, &writable);
                highest = w->to > highest ? w->to : highest;
            }
            uint64_t own_ns = patience(w);
            if (own_ns != 0 && (wait_ns == 0 || own_ns < wait_ns)) {
                wait_ns = own_ns;
            }
        }
        struct timeval wait = {0, (suseconds_t)((wait_ns + 999u) / 1000u)};
        if (select(highest + 1, &readable, &writable, NULL, wait_ns != 0 ? &wait : NULL) < 0) {
            if (errno == EINTR) {
                continue;
            }
            return fail("select");
        }
        char command;
        if (FD_ISSET(STDIN_FILENO, &readable) && read(STDIN_FILENO, &command, 1) <= 0) {
            return 0;
        }
        for (int i = 0; i < 2; i++) {
            way *w = &ways[i];
            if (FD_ISSET(w->from, &readable)) {
                take(w);
            }
            if (!pass(w) || (w->ended && w->size == 0)) {
                linger(other);
                return 0;
            }
        }
    }
}

/* A pseudo-terminal that changes no byte. Its other side stays open here, so that no reader sees it
 * closed when the host reopens. */
static int open_terminal(int *other)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        return -1;
    }
    *other = open(ptsname(master), O_RDWR | O_NOCTTY);
    struct termios raw;
    if (*other < 0 || tcgetattr(*other, &raw) != 0) {
        return -1;
    }
    raw.c_iflag = 0;
    raw.c_oflag = 0;
    raw.c_lflag = 0;
    raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8 | CREAD | CLOCAL;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    return tcsetattr(*other, TCSANOW, &raw) == 0 ? master : -1;
}

static pid_t start(char **command, int in[2], int out[2])
{
    pid_t child = fork();
    if (child == 0) {
        if (dup2(in[0], STDIN_FILENO) < 0 || dup2(out[1], STDOUT_FILENO) < 0) {
            _exit(fail("dup2"));
        }
        close(in[0]);
        close(in[1]);
        close(out[0]);
        close(out[1]);
        execvp(command[0], command);
        _exit(fail(command[0]));
    }
    close(in[0]);
    close(out[1]);
    return child;
}

static int never_blocks(int file)
{
    int flags = fcntl(file, F_GETFL);
    return flags >= 0 && fcntl(file, F_SETFL, flags | O_NONBLOCK) == 0;
}

int main(int argc, char **argv)
{
    char *end = NULL;
    long baud = argc > 2 ? strtol(argv[1], &end, 10) : 0;
    if (baud < 1 || baud > 100000000 || *end != '\0') {
        fprintf(stderr, "usage: line BAUD PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int in[2];
    int out[2];
    int other = -1;
    int master = open_terminal(&other);
    if (master < 0) {
        return fail("pseudo-terminal");
    }
    if (pipe(in) != 0 || pipe(out) != 0) {
        return fail("pipe");
    }
    if (fcntl(master, F_SETFD, FD_CLOEXEC) != 0 || fcntl(other, F_SETFD, FD_CLOEXEC) != 0 ||
        !never_blocks(master) || !never_blocks(in[1])) {
        return fail("fcntl");
    }
    pid_t child = start(argv + 2, in, out);
    if (child < 0) {
        return fail("fork");
    }
    uint64_t byte_ns = ((uint64_t)BITS_PER_BYTE * SECOND_NS + (uint64_t)baud - 1) / (uint64_t)baud;
    ways[0].from = master;
    ways[0].to = in[1];
    ways[1].from = out[0];
    ways[1].to = master;
    ways[0].byte_ns = ways[1].byte_ns = byte_ns;
    printf("%s\n", ptsname(master));
    int rc = fflush(stdout) == 0 ? serve(other) : fail("standard output");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return rc;
}
