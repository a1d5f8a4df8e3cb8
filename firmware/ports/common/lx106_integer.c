/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Integer routines that the ESP8266 has in mask ROM and that libgcc for the lx106 therefore leaves
 * out. Shift and subtract: small, and only openings of packs and rare paths divide.
 */
#include <stdint.h>

uint32_t __udivsi3(uint32_t n, uint32_t d);
uint32_t __umodsi3(uint32_t n, uint32_t d);
int32_t __divsi3(int32_t n, int32_t d);
int32_t __modsi3(int32_t n, int32_t d);
uint64_t __umulsidi3(uint32_t a, uint32_t b);
int64_t __muldi3(int64_t a, int64_t b);
uint64_t __udivdi3(uint64_t n, uint64_t d);
uint64_t __umoddi3(uint64_t n, uint64_t d);
int64_t __divdi3(int64_t n, int64_t d);
int64_t __moddi3(int64_t n, int64_t d);

static uint32_t divide32(uint32_t n, uint32_t d, uint32_t *rest)
{
    uint32_t q = 0;
    uint32_t r = 0;
    for (int i = 0; i < 32; i++) {
        uint32_t carry = r >> 31;
        r = (r << 1) | (n >> 31);
        n <<= 1;
        q <<= 1;
        if (carry != 0 || r >= d) {
            r -= d;
            q |= 1u;
        }
    }
    *rest = r;
    return q;
}

static uint64_t divide64(uint64_t n, uint64_t d, uint64_t *rest)
{
    uint64_t q = 0;
    uint64_t r = 0;
    for (int i = 0; i < 64; i++) {
        uint64_t carry = r >> 63;
        r = (r << 1) | (n >> 63);
        n <<= 1;
        q <<= 1;
        if (carry != 0 || r >= d) {
            r -= d;
            q |= 1u;
        }
    }
    *rest = r;
    return q;
}

static uint32_t magnitude32(int32_t x)
{
    return x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
}

static uint64_t magnitude64(int64_t x)
{
    return x < 0 ? 0u - (uint64_t)x : (uint64_t)x;
}

uint32_t __udivsi3(uint32_t n, uint32_t d)
{
    uint32_t rest;
    return divide32(n, d, &rest);
}

uint32_t __umodsi3(uint32_t n, uint32_t d)
{
    uint32_t rest;
    (void)divide32(n, d, &rest);
    return rest;
}

int32_t __divsi3(int32_t n, int32_t d)
{
    uint32_t rest;
    uint32_t q = divide32(magnitude32(n), magnitude32(d), &rest);
    return (int32_t)((n ^ d) < 0 ? 0u - q : q);
}

int32_t __modsi3(int32_t n, int32_t d)
{
    uint32_t rest;
    (void)divide32(magnitude32(n), magnitude32(d), &rest);
    return (int32_t)(n < 0 ? 0u - rest : rest);
}

uint64_t __umulsidi3(uint32_t a, uint32_t b)
{
    uint32_t low = (a & 0xFFFFu) * (b & 0xFFFFu);
    uint32_t left = (a >> 16) * (b & 0xFFFFu);
    uint32_t right = (a & 0xFFFFu) * (b >> 16);
    uint32_t high = (a >> 16) * (b >> 16);
    /* each term < 2^16, so the sum fits */
    uint32_t middle = (low >> 16) + (left & 0xFFFFu) + (right & 0xFFFFu);
    high += (left >> 16) + (right >> 16) + (middle >> 16);
    union {
        uint32_t half[2];
        uint64_t whole;
    } product = {{(middle << 16) | (low & 0xFFFFu), high}};
    return product.whole;
}

int64_t __muldi3(int64_t a, int64_t b)
{
    union {
        int64_t whole;
        uint32_t half[2];
    } x = {a}, y = {b}, product;
    product.whole = (int64_t)__umulsidi3(x.half[0], y.half[0]);
    product.half[1] += x.half[0] * y.half[1] + x.half[1] * y.half[0];
    return product.whole;
}

uint64_t __udivdi3(uint64_t n, uint64_t d)
{
    uint64_t rest;
    return divide64(n, d, &rest);
}

uint64_t __umoddi3(uint64_t n, uint64_t d)
{
    uint64_t rest;
    (void)divide64(n, d, &rest);
    return rest;
}

int64_t __divdi3(int64_t n, int64_t d)
{
    uint64_t rest;
    uint64_t q = divide64(magnitude64(n), magnitude64(d), &rest);
    return (int64_t)((n ^ d) < 0 ? 0u - q : q);
}

int64_t __moddi3(int64_t n, int64_t d)
{
    uint64_t rest;
    (void)divide64(magnitude64(n), magnitude64(d), &rest);
    return (int64_t)(n < 0 ? 0u - rest : rest);
}
