/* What runs in the containers of tests: it is alone there, so it is linked statically.
 *   program                does nothing
 *   program spin           keeps a CPU busy
 *   program burst N MS     N processes one after the other, each busy for MS milliseconds */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static inline __attribute__((always_inline)) void spin(double milliseconds)
{
	double end = now() + milliseconds;
	volatile long turns = 0;
	while (now() < end)
		for (int i = 0; i < 100000; i++)
			turns++;
}

/* Each use has a function of its own, by which its samples are known. */
static __attribute__((noinline)) void spin_for_ever(void)
{
	for (;;)
		spin(1e9);
}

static __attribute__((noinline)) void burst_in_container(double milliseconds)
{
	spin(milliseconds);
}

int main(int count, char **arguments)
{
	if (count == 2 && !strcmp(arguments[1], "spin"))
		spin_for_ever();
	if (count == 4 && !strcmp(arguments[1], "burst")) {
		for (int left = atoi(arguments[2]); left > 0; left--) {
			pid_t child = fork();
			if (child == 0) {
				burst_in_container(atof(arguments[3]));
				_exit(0);
			}
			waitpid(child, NULL, 0);
		}
		return 0;
	}
	for (;;)
		pause();
}
