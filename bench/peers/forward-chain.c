// As forward.c, with the work of checksum, acl and nat on the way: ... QUEUES RULES PORT INSIDE BITS OUTSIDE
// One queue: the chain's tables are one thread's. Both directions take turns at them.
#include "tun.h"
#include "chain.h"
#include <time.h>

static struct chain *work;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void *loop(void *argument) {
  struct way *way = argument;
  static __thread uint8_t packet[65536];
  for (unsigned count = 0;; count++) {
    ssize_t length = read(way->in, packet, sizeof packet);
    if (length < 20) continue;
    pthread_mutex_lock(&turn);
    if (count % 64 == 0) {
      struct timespec now;
      clock_gettime(CLOCK_MONOTONIC, &now);
      work->now = now.tv_sec * 1000000000ull + now.tv_nsec;
    }
    bool passes = chain(work, packet, length);
    pthread_mutex_unlock(&turn);
    if (passes && write(way->out, packet, length) < 0) continue;
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc != 11 || atoi(argv[5]) != 1)
    errx(2, "usage: forward-chain NETNS_A DEVICE_A NETNS_B DEVICE_B 1 RULES PORT INSIDE BITS OUTSIDE");
  work = make_chain(atoi(argv[6]), atoi(argv[7]), argv[8], atoi(argv[9]), argv[10]);
  forward_all(argv, 0, NULL, loop);
}
