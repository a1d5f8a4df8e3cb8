// SPDX-License-Identifier: Apache-2.0
// A board as a program: its serial line is standard input, a number at a time, and output.
#include <stdio.h>

#include "Arduino.h"

SerialPort Serial;
static long waiting;

unsigned long millis()
{
    return 5000;
}

void SerialPort::begin(unsigned long)
{
}

int SerialPort::available()
{
    return waiting != 0;
}

long SerialPort::parseInt()
{
    long number = waiting;
    waiting = 0;
    return number;
}

void SerialPort::print(const char *text)
{
    fputs(text, stdout);
}

void SerialPort::print(unsigned long number)
{
    printf("%lu", number);
}

void SerialPort::println(const char *text)
{
    puts(text);
}

void SerialPort::println(unsigned long number)
{
    printf("%lu\n", number);
}

int main()
{
    setup();
    while (scanf("%ld", &waiting) == 1) {
        loop();
    }
    return 0;
}
