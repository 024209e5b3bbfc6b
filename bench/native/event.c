#include "event.h"

#include <string.h>

enum { PERIOD = 64 };

static const char ALPHABET[PERIOD + 1] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* The alphabet again and again, so that the pattern of any event is one stretch of it. */
static char pattern[EVENT_MAX + PERIOD];

void event_init(void)
{
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = ALPHABET[i % PERIOD];
}

static void put_digits(char *out, int width, uint64_t value)
{
    for (int i = width - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void event_write(char *out, size_t length, uint32_t sequence, uint32_t modulus, uint64_t time_ns)
{
    memset(out, ' ', EVENT_HEAD);
    put_digits(out, 8, sequence);
    put_digits(out + 9, 8, modulus % SEQUENCE_WRAP);
    put_digits(out + 18, 16, time_ns % TIME_WRAP);
    put_digits(out + 35, 8, length);
    memcpy(out + EVENT_HEAD, pattern + sequence % PERIOD, length - EVENT_HEAD);
}

/* Eight ASCII digits at once: the check and the sums run on one 64-bit word. */
static int eight_digits(const char *text, uint64_t *value)
{
    uint64_t word;
    memcpy(&word, text, 8);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    /* A digit is 0x30 to 0x39: its high nibble is 3, and still is after adding 6. */
    if ((word & 0xF0F0F0F0F0F0F0F0ull) != 0x3030303030303030ull ||
        ((word + 0x0606060606060606ull) & 0xF0F0F0F0F0F0F0F0ull) != 0x3030303030303030ull)
        return 0;
    word -= 0x3030303030303030ull;
    word = word * 10 + (word >> 8); /* pairs */
    *value = (((word & 0x000000FF000000FFull) * (100 + (1000000ull << 32))) +
              (((word >> 16) & 0x000000FF000000FFull) * (1 + (10000ull << 32)))) >> 32;
    return 1;
}

int event_read(const char *data, size_t length, EventHead *head)
{
    uint64_t sequence, modulus, high, low, stated;
    if (length < EVENT_HEAD || length > EVENT_MAX)
        return 0;
    if (data[8] != ' ' || data[17] != ' ' || data[34] != ' ' || data[43] != ' ')
        return 0;
    if (!eight_digits(data, &sequence) || !eight_digits(data + 9, &modulus) ||
        !eight_digits(data + 18, &high) || !eight_digits(data + 26, &low) ||
        !eight_digits(data + 35, &stated))
        return 0;
    if (modulus == 0)
        modulus = SEQUENCE_WRAP;
    if (stated != length || sequence >= modulus)
        return 0;
    if (memcmp(data + EVENT_HEAD, pattern + sequence % PERIOD, length - EVENT_HEAD) != 0)
        return 0;
    head->sequence = (uint32_t)sequence;
    head->modulus = (uint32_t)modulus;
    head->time_ns = high * 100000000u + low;
    return 1;
}
