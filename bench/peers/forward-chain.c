// As forward.c, with the work of checksum, acl and nat on the way: ... QUEUES THREADS RULES PORT INSIDE BITS OUTSIDE
// One queue: the chain's tables are one thread's. Both directions take turns at them.
#include "tun.h"
#include "chain.h"
#include <time.h>

static struct chain *tables;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static bool filter(uint8_t *packet, ssize_t length) {
  static __thread unsigned count;
  pthread_mutex_lock(&turn);
  if (count++ % 64 == 0) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    tables->now = now.tv_sec * 1000000000ull + now.tv_nsec;
  }
  bool passes = chain(tables, packet, length);
  pthread_mutex_unlock(&turn);
  return passes;
}

int main(int argc, char **argv) {
  if (argc != 12 || atoi(argv[5]) != 1)
    errx(2, "usage: forward-chain NETNS_A DEVICE_A NETNS_B DEVICE_B 1 THREADS RULES PORT INSIDE BITS OUTSIDE");
  tables = make_chain(atoi(argv[7]), atoi(argv[8]), argv[9], atoi(argv[10]), argv[11]);
  forward_all(argv, 0, NULL, filter);
}
