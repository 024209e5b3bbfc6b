"""One bug of each kind, to prove that a sanitizer job sees bugs of its kind.

Compiled among the core in a sanitizer's own tree, with the core's flags, and run
the way the tests are run. It is no part of the package.
"""

cdef extern from *:
    """
    #include <pthread.h>
    #include <stdlib.h>

    static volatile int planted_sink;
    static int planted_shared;

    /* The volatile pointers hide from the compiler what it could otherwise prove. */
    static void planted_overflow(int index) {
        char *volatile block = (char *)malloc(8);
        if (block == NULL)
            return;
        block[index] = 1;
        planted_sink = block[0];
        free(block);
    }
    static void planted_use_after_free(void) {
        int *volatile block = (int *)malloc(sizeof(int));
        if (block == NULL)
            return;
        *block = 1;
        free(block);
        planted_sink = *block;
    }
    static int planted_undefined(int number) {
        return number + 1;
    }
    static void planted_leak(void) {
        char *volatile block = (char *)malloc(4242);
        planted_sink = block != NULL;
        block = NULL;
    }
    static void *planted_count(void *unused) {
        for (int i = 0; i < 1000; i++)
            planted_shared++;
        return unused;
    }
    static void planted_race(void) {
        pthread_t one, other;
        if (pthread_create(&one, NULL, planted_count, NULL) != 0)
            return;
        if (pthread_create(&other, NULL, planted_count, NULL) == 0)
            pthread_join(other, NULL);
        pthread_join(one, NULL);
        planted_sink = planted_shared;
    }
    """
    void planted_overflow(int index) nogil
    void planted_use_after_free() nogil
    int planted_undefined(int number) nogil
    void planted_leak() nogil
    void planted_race() nogil


def nothing():
    """No bug: the sanitizer must stay silent."""


def overflow():
    """Write one byte past a block of 8."""
    planted_overflow(8)


def use_after_free():
    """Read a block that was freed."""
    planted_use_after_free()


def undefined():
    """Overflow a signed integer."""
    return planted_undefined(2147483647)


def leak():
    """Lose the only pointer to a block."""
    for _ in range(10):
        planted_leak()


def race():
    """Count in two threads without the GIL, a lock or an atomic."""
    with nogil:
        planted_race()
