/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workstation: a terminal in a process, its serial port on standard input and output. Compile
 * it with the application and the engine by any C compiler on a POSIX system. A reset runs the
 * program again on the same two pipes, so the other side sees what a rebooting board shows:
 * state gone, another boot nonce. End of input ends the process.
 *
 * With TFIN_PORT_OWN_SPEED another source has tfin_port_set_baud(), for what is behind the pipes.
 */
#define _POSIX_C_SOURCE 200809L
#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { IDLE_MS = 100 };

static uint8_t in[4096];
static size_t in_at;
static size_t in_size;
static uint8_t out[4096];
static size_t out_size;
static char **arguments;

#ifdef TFIN_PORT_OWN_SPEED
const uint32_t tfin_port_abilities = TFIN_PORT_EXIT | TFIN_PORT_REBOOT | TFIN_PORT_SPEED;
#else
const uint32_t tfin_port_abilities = TFIN_PORT_EXIT | TFIN_PORT_REBOOT;

int tfin_port_set_baud(uint32_t baud)
{
    (void)baud;
    return 0; /* a pipe has no speed */
}
#endif
/* a pipe holds its sender back */
const uint32_t tfin_port_receive_bytes = 4 * TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_hz = 1000000000u;
const uint32_t tfin_port_tick_mask = 0xFFFFFFFFu;

void tfin_port_init(void)
{
}

/* glibc gives constructors main's arguments; the reset needs them */
__attribute__((constructor)) static void start(int argc, char **argv)
{
    (void)argc;
    arguments = argv;
    tfin_port_init();
}

static void flush(void)
{
    size_t at = 0;
    while (at < out_size) {
        ssize_t n = write(STDOUT_FILENO, out + at, out_size - at);
        if (n < 0 && errno != EINTR) {
            _exit(0); /* no reader is left */
        }
        at += n > 0 ? (size_t)n : 0;
    }
    out_size = 0;
}

/* Sleeps while there is nothing to do: a process that spins would take the core from its host. */
int tfin_port_read(void)
{
    if (in_at == in_size) {
        flush();
        struct pollfd wait = {STDIN_FILENO, POLLIN, 0};
        if (poll(&wait, 1, IDLE_MS) <= 0) {
            return -1;
        }
        ssize_t n = read(STDIN_FILENO, in, sizeof in);
        if (n == 0) {
            _exit(0);
        }
        if (n < 0) {
            return -1;
        }
        in_at = 0;
        in_size = (size_t)n;
    }
    return in[in_at++];
}

void tfin_port_idle(void)
{
}

uint32_t tfin_port_receive_overruns(void)
{
    return 0;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (out_size == sizeof out) {
            flush();
        }
        out[out_size++] = data[i];
    }
}

uint32_t tfin_port_ticks(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

uint32_t tfin_port_noise(void)
{
    uint32_t noise = 0;
    int file = open("/dev/urandom", O_RDONLY);
    if (file >= 0) {
        if (read(file, &noise, sizeof noise) != (ssize_t)sizeof noise) {
            noise = 0;
        }
        close(file);
    }
    return noise;
}

uint32_t tfin_port_entropy(void)
{
    return tfin_port_noise() ^ tfin_port_ticks() ^ (uint32_t)getpid() << 16;
}

/* Bytes that had come in and were not yet read are lost, as on a board. */
void tfin_port_reset(void)
{
    flush();
    execv("/proc/self/exe", arguments);
    _exit(125);
}

void tfin_port_exit(int code)
{
    flush();
    _exit(code & 0xFF);
}
