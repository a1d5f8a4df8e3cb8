/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine among threads. An engine has one owner, so one thread calls it, and the others send it
 * requests: here the payment thread, which waits for the advice, and the network thread, which
 * brings what the host has learned. The tests run this file under ThreadSanitizer; docs/firmware.md
 * has the same as a FreeRTOS task.
 */
#include <pthread.h>
#include <stdio.h>

#include "tinyfin.h"
#include "tinyfin_pack.h"

enum { TRANSACTIONS = 200, WAITING = 4 };
enum request_kind { ASK, ENDED, LEARNED, STOP };

typedef struct request {
    enum request_kind kind;
    uint64_t id;
    uint32_t t_mono_s;
    tinyfin_payment_t record; /* of ASK */
    int *answer;              /* of ASK: action or error, written before `answered` */
    pthread_cond_t *answered;
} request;

/* A queue of copies, which is what an RTOS calls a queue. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static request queue[WAITING];
static unsigned sent;
static unsigned taken;

static uint8_t memory[TINYFIN_MEMORY_BYTES] __attribute__((aligned(TFIN_ALIGN)));
static tfin_engine engine; /* the owner's alone */

static int serve(const request *r)
{
    if (r->kind == ASK) {
        tfin_event event = {.id = r->id, .t_mono_s = r->t_mono_s};
        event.record = &r->record;
        event.record_size = sizeof r->record;
        tfin_verdict verdict;
        int rc = tfin_score(&engine, &event, &verdict);
        return rc == TFIN_OK ? verdict.action : rc;
    }
    if (r->kind == ENDED) {
        tfin_outcome outcome = {.id = r->id, .t_mono_s = r->t_mono_s, .response = 0};
        return tfin_apply_outcome(&engine, &outcome);
    }
    tfin_notice notice = {.id = r->id, .t_mono_s = r->t_mono_s, .t_tx_mono_s = r->t_mono_s};
    return tfin_apply_notice(&engine, &notice);
}

static void post(const request *r)
{
#ifdef TFIN_SABOTAGE_OWNER /* the tests' control: every thread calls the engine itself */
    int rc = serve(r);
    if (r->answer != NULL) {
        *r->answer = rc;
    }
#else
    pthread_mutex_lock(&lock);
    while (sent - taken == WAITING) {
        pthread_cond_wait(&changed, &lock);
    }
    queue[sent++ % WAITING] = *r;
    pthread_cond_broadcast(&changed);
    while (r->answer != NULL && *r->answer == TFIN_E_CLOSED) {
        pthread_cond_wait(r->answered, &lock);
    }
    pthread_mutex_unlock(&lock);
#endif
}

/* The owner: the only thread that calls the engine, but for main before and after it. */
static void *own(void *unused)
{
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (sent == taken) {
            pthread_cond_wait(&changed, &lock);
        }
        request r = queue[taken++ % WAITING];
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        if (r.kind == STOP) {
            return NULL;
        }
        int rc = serve(&r); /* without the lock: others may send meanwhile */
        if (r.answer != NULL) {
            pthread_mutex_lock(&lock);
            *r.answer = rc;
            pthread_cond_signal(r.answered);
            pthread_mutex_unlock(&lock);
        }
    }
}

static void *pay(void *unused)
{
    (void)unused;
    pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
    for (uint64_t id = 1; id <= TRANSACTIONS; id++) {
        int answer = TFIN_E_CLOSED; /* not yet answered */
        request r = {.kind = ASK, .id = id, .t_mono_s = 60u * (uint32_t)id, .answer = &answer};
        r.answered = &answered;
        r.record.present = TINYFIN_PAYMENT_AMOUNT_MINOR | TINYFIN_PAYMENT_TOKEN;
        r.record.amount_minor = 100 + (int64_t)id;
        r.record.token = id % 7u;
        post(&r);
        request ended = {.kind = ENDED, .id = id, .t_mono_s = r.t_mono_s};
        post(&ended);
    }
    return NULL;
}

static void *learn(void *unused)
{
    (void)unused;
    for (uint64_t id = 1; id <= TRANSACTIONS; id++) {
        request r = {.kind = LEARNED, .id = id, .t_mono_s = 60u * (uint32_t)id};
        post(&r);
    }
    return NULL;
}

int main(void)
{
    tfin_trust trust = {0};
    trust.record = tinyfin_record;
    trust.allow_development_key = 1; /* a release: its own keys */
    if (tfin_open(&engine, tinyfin_pack, TINYFIN_PACK_BYTES, memory, sizeof memory, &trust) != 0) {
        return 1;
    }
    pthread_t owner;
    pthread_t payments;
    pthread_t network;
    if (pthread_create(&owner, NULL, own, NULL) != 0 ||
        pthread_create(&payments, NULL, pay, NULL) != 0 ||
        pthread_create(&network, NULL, learn, NULL) != 0) {
        return 1;
    }
    pthread_join(payments, NULL);
    pthread_join(network, NULL);
    pthread_mutex_lock(&lock); /* the queue may be full */
    while (sent - taken == WAITING) {
        pthread_cond_wait(&changed, &lock);
    }
    queue[sent++ % WAITING] = (request){.kind = STOP};
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(owner, NULL);
    tfin_stats stats;
    if (tfin_get_stats(&engine, &stats) != TFIN_OK) {
        return 1;
    }
    printf("%u scored, %u committed\n", (unsigned)stats.scored, (unsigned)stats.committed);
    return 0;
}
