/* Preloaded into a process, shifts its wall clock by CHAOS_CLOCK_OFFSET_S seconds. Only the calls that
 * tell the time are replaced: waits until a time of the wall clock, which the C library computes by
 * itself, stay right. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t offset(void)
{
    const char *text = getenv("CHAOS_CLOCK_OFFSET_S");
    return text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (failed == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += offset();
    return (int)failed;
}

int gettimeofday(struct timeval *now, void *zone)
{
    long failed = syscall(SYS_gettimeofday, now, zone);
    if (failed == 0)
        now->tv_sec += offset();
    return (int)failed;
}

time_t time(time_t *now)
{
    struct timespec found = {0};
    clock_gettime(CLOCK_REALTIME, &found);
    if (now)
        *now = found.tv_sec;
    return found.tv_sec;
}
