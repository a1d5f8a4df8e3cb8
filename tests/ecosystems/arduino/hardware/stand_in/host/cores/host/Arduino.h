/* SPDX-License-Identifier: Apache-2.0 */
/* What the sketch calls of Arduino, as its reference declares it. */
#pragma once
#include <stdint.h>

extern "C" unsigned long millis();
void setup();
void loop();

class SerialPort {
public:
    void begin(unsigned long baud);
    int available();
    long parseInt();
    void print(const char *text);
    void print(unsigned long number);
    void println(const char *text);
    void println(unsigned long number);
};
extern SerialPort Serial;
