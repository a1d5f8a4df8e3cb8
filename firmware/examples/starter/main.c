/* SPDX-License-Identifier: Apache-2.0 */
/* The firmware: one loop, which serves the payment application and the line to the rig. */
#include "payment.h"
#include "port.h"
#include "wire.h"

/* Yours: 1 when a card was presented, with the transaction in `tx`. */
static int card_presented(payment *tx)
{
    (void)tx;
    return 0;
}

/* Yours: EMV kernel and host, who take the advice into account. */
static enum tfin_result authorise(const payment *tx, enum tfin_advice advice)
{
    (void)tx;
    return advice == TFIN_ADVICE_DECLINE ? TFIN_RESULT_DECLINED : TFIN_RESULT_APPROVED;
}

/* Yours: a watchdog that resets the chip when this loop stops. */
static void feed_watchdog(void)
{
}

static void pay(tfin_engine *engine, const payment *tx)
{
    enum tfin_advice advice = payment_advice(engine, tx);
    enum tfin_result result = authorise(tx, advice);
    (void)payment_ended(engine, tx, tx->t_mono_s, result, advice, -1);
}

int main(void)
{
    tfin_wire_start(); /* opens the pack */
    for (;;) {
        feed_watchdog();
        payment tx;
        if (card_presented(&tx)) {
            pay(tfin_wire_engine(), &tx);
        }
        enum tfin_wire_work work = tfin_wire_step(); /* a pack that is being installed */
        int byte = work == TFIN_WIRE_HOLDS ? -1 : tfin_port_read();
        if (byte >= 0) {
            tfin_wire_byte((uint8_t)byte);
        } else if (work == TFIN_WIRE_RESTS && !tfin_wire_idle()) {
            tfin_port_idle();
        }
    }
}
