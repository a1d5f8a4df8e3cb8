/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the ports of Espressif's chips have in common, without ESP-IDF: watchdogs off, one UART or
 * the USB serial port that is part of the chip, noise, reset. Part of one port.c. The board file
 * says in "defines" which chip it is, and TFIN_PORT_USB if the host is at the USB connector of the
 * chip itself; otherwise it is at UART0, on the pins that the ROM has given to it.
 *
 * Register numbers are those of the chips' technical reference manuals.
 */
#ifndef TFIN_ESPRESSIF_H
#define TFIN_ESPRESSIF_H

#include "port.h"

#include "registers.h"

#if defined(TFIN_CHIP_ESP32)
#define UART 0x3FF40000u
#define SEND_FIFO 0x60000000u /* its other address: writes to the first may get lost */
#define TIMER_GROUP_0 0x3FF5F000u
#define TIMER_GROUP_1 0x3FF60000u
#define RTC_WATCHDOG 0x3FF4808Cu
#define RTC_WATCHDOG_LOCK 0x3FF480A4u
#define NOISE 0x3FF75144u
#define RESET 0x3FF48000u
#elif defined(TFIN_CHIP_ESP32S3)
#define UART 0x60000000u
#define USB 0x60038000u
#define UART_SOURCE (UART + 0x78u)
#define SENDER (UART + 0x6Cu)
#define TIMER_GROUP_0 0x6001F000u
#define TIMER_GROUP_1 0x60020000u
#define RTC_WATCHDOG 0x60008098u
#define RTC_WATCHDOG_LOCK 0x600080B0u
#define SUPER_WATCHDOG 0x600080B4u
#define SUPER_WATCHDOG_LOCK 0x600080B8u
#define NOISE 0x6003507Cu
#define RESET 0x60008000u
#elif defined(TFIN_CHIP_ESP32C3)
#define UART 0x60000000u
#define USB 0x60043000u
#define UART_SOURCE (UART + 0x78u)
#define SENDER (UART + 0x6Cu)
#define TIMER_GROUP_0 0x6001F000u
#define TIMER_GROUP_1 0x60020000u
#define RTC_WATCHDOG 0x60008090u
#define RTC_WATCHDOG_LOCK 0x600080A8u
#define SUPER_WATCHDOG 0x600080ACu
#define SUPER_WATCHDOG_LOCK 0x600080B0u
#define NOISE 0x600260B0u
#define RESET 0x60008000u
#elif defined(TFIN_CHIP_ESP32C6) || defined(TFIN_CHIP_ESP32H2)
#define UART 0x60000000u
#define USB 0x6000F000u
#define UART_SOURCE 0x60096004u /* of the PCR */
#define SENDER (UART + 0x70u)
#define UART_UPDATE (UART + 0x98u) /* what was set takes effect when this is written */
#ifdef TFIN_CHIP_ESP32C6
#define TIMER_GROUP_0 0x60008000u
#define TIMER_GROUP_1 0x60009000u
#define RTC_WATCHDOG_LOCK 0x600B1C18u
#define SUPER_WATCHDOG 0x600B1C1Cu
#define SUPER_WATCHDOG_LOCK 0x600B1C20u
#else
#define TIMER_GROUP_0 0x60009000u
#define TIMER_GROUP_1 0x6000A000u
#define RTC_WATCHDOG_LOCK 0x600B1C1Cu
#define SUPER_WATCHDOG 0x600B1C20u
#define SUPER_WATCHDOG_LOCK 0x600B1C24u
#endif
#define RTC_WATCHDOG 0x600B1C00u
#define NOISE 0x600B2808u
#define RESET 0x600B1034u
#else
#error "the board file lacks the chip: \"defines\": [\"TFIN_CHIP_ESP32C3\"], or ESP32, ESP32S3, \
ESP32C6, ESP32H2"
#endif
#if defined(TFIN_PORT_USB) && !defined(USB)
#error "an ESP32 has no USB serial port of its own: leave TFIN_PORT_USB out of \"defines\""
#endif

#ifndef SEND_FIFO
#define SEND_FIFO UART
#endif
#define UART_RAW (UART + 0x04u)
#define UART_CLEAR (UART + 0x10u)
#define UART_DIVIDER (UART + 0x14u)
#define UART_STATUS (UART + 0x1Cu)
#define UART_LOST (1u << 4) /* the receive FIFO had no room */
#define FIFO_BYTES 128u
#ifdef SENDER
#define SENDER_SHIFT 4
#else /* a part of the status */
#define SENDER UART_STATUS
#define SENDER_SHIFT 24
#endif
/* bytes in the FIFOs: counters of 10 bits where the FIFOs of all UARTs share their memory */
#if defined(TFIN_CHIP_ESP32C3) || defined(TFIN_CHIP_ESP32S3)
#define COUNT 0x3FFu
#else
#define COUNT 0xFFu
#endif
#ifdef TFIN_CHIP_ESP32H2
#define CRYSTAL_HZ 32000000u
#else
#define CRYSTAL_HZ 40000000u
#endif

#define USB_CONTROL (USB + 4u)
#define USB_FLUSH 1u
#define USB_ROOM 2u
#define USB_RECEIVED 4u

#define WATCHDOG_KEY 0x50D83AA1u
#if defined(TFIN_CHIP_ESP32C6) || defined(TFIN_CHIP_ESP32H2)
#define SUPER_WATCHDOG_KEY WATCHDOG_KEY
#define SUPER_WATCHDOG_FEEDS_ITSELF (1u << 18)
#else
#define SUPER_WATCHDOG_KEY 0x8F1D312Au
#define SUPER_WATCHDOG_FEEDS_ITSELF (1u << 31)
#endif

/* a chip has nowhere to exit to */
const uint32_t tfin_port_abilities = TFIN_PORT_REBOOT | TFIN_PORT_STACK | TFIN_PORT_SPEED;
const uint32_t tfin_port_tick_hz = F_CPU;
const uint32_t tfin_port_tick_mask = 0xFFFFFFFFu;

/* The ROM leaves them on, for the bootloader to take over. */
static void watchdogs_off(void)
{
    static const uint32_t groups[] = {TIMER_GROUP_0, TIMER_GROUP_1};
    for (int i = 0; i < 2; i++) {
        TFIN_REG(groups[i] + 0x64u) = WATCHDOG_KEY;
        TFIN_REG(groups[i] + 0x48u) = 0;
        TFIN_REG(groups[i] + 0x64u) = 0;
    }
    TFIN_REG(RTC_WATCHDOG_LOCK) = WATCHDOG_KEY;
    TFIN_REG(RTC_WATCHDOG) = 0;
    TFIN_REG(RTC_WATCHDOG_LOCK) = 0;
#ifdef SUPER_WATCHDOG
    TFIN_REG(SUPER_WATCHDOG_LOCK) = SUPER_WATCHDOG_KEY;
    TFIN_REG(SUPER_WATCHDOG) |= SUPER_WATCHDOG_FEEDS_ITSELF;
    TFIN_REG(SUPER_WATCHDOG_LOCK) = 0;
#endif
}

#ifdef TFIN_PORT_USB

static int received(void)
{
    return (TFIN_REG(USB_CONTROL) & USB_RECEIVED) != 0 ? (int)(TFIN_REG(USB) & 0xFFu) : -1;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        for (uint32_t turns = 0; (TFIN_REG(USB_CONTROL) & USB_ROOM) == 0; turns++) {
            if (turns == TFIN_PORT_SEND_TURNS) {
                return;
            }
        }
        TFIN_REG(USB) = data[i];
    }
    TFIN_REG(USB_CONTROL) = USB_FLUSH;
}

/* USB has one speed, whatever the host calls it. */
int tfin_port_set_baud(uint32_t baud)
{
    return baud != 0;
}

#else

static int received(void)
{
    return (TFIN_REG(UART_STATUS) & COUNT) != 0 ? (int)(TFIN_REG(UART) & 0xFFu) : -1;
}

/* Waits until the UART has not more than `bytes` left to send; 0 when it does not get there. */
static int sent_but(uint32_t bytes)
{
    for (uint32_t turns = 0; ((TFIN_REG(UART_STATUS) >> 16) & COUNT) > bytes; turns++) {
        if (turns == TFIN_PORT_SEND_TURNS) {
            return 0;
        }
    }
    return 1;
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size && sent_but(FIFO_BYTES - 8u); i++) {
        TFIN_REG(SEND_FIFO) = data[i];
    }
}

int tfin_port_set_baud(uint32_t baud)
{
    /* the divider is 12 bits and 4 of a fraction; at 8 and above the speed is exact to 0.4% */
    if (baud < CRYSTAL_HZ / 4000u || baud > CRYSTAL_HZ / 8u || !sent_but(0)) {
        return 0;
    }
    for (uint32_t turns = 0; ((TFIN_REG(SENDER) >> SENDER_SHIFT) & 15u) != 0; turns++) {
        if (turns == TFIN_PORT_SEND_TURNS) {
            return 0;
        }
    }
    uint32_t sixteenths = (CRYSTAL_HZ * 16u + baud / 2u) / baud;
#ifdef UART_SOURCE
    /* clock source 3 is the crystal, undivided */
    TFIN_REG(UART_SOURCE) = (TFIN_REG(UART_SOURCE) & ~0x3FFFFFu) | (3u << 20);
#else
    TFIN_REG(UART + 0x20u) |= 1u << 27; /* from the bus, which runs from the crystal as the core */
#endif
    TFIN_REG(UART_DIVIDER) = (sixteenths >> 4) | ((sixteenths & 15u) << 20);
#ifdef UART_UPDATE
    TFIN_REG(UART_UPDATE) = 1u;
#endif
    return 1;
}

#endif

uint32_t tfin_port_noise(void)
{
    return TFIN_REG(NOISE);
}

void tfin_port_reset(void)
{
    TFIN_REG(RESET) |= 1u << 31;
    for (;;) {
    }
}

void tfin_port_exit(int code)
{
    (void)code;
    for (;;) {
    }
}

#endif
