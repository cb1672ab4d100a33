// What the forwarders share: they are started as
//   forward NETNS_A DEVICE_A NETNS_B DEVICE_B QUEUES [...]
// with the numbers of two open network namespaces, open a TUN device in each, print "ready", wait for a line while
// somebody gives the devices addresses and routes, forward both ways, and end with their standard input.
#ifndef TUN_H
#define TUN_H
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MOST_QUEUES 256

struct way {
  int in, out;
};

static int open_queue(int netns, const char *name, int flags) {
  int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (own < 0 || setns(netns, CLONE_NEWNET)) err(1, "setns %d", netns);
  int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd < 0) err(1, "/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE | flags};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (ioctl(fd, TUNSETIFF, &request)) err(1, "TUNSETIFF %s", name);
  if (setns(own, CLONE_NEWNET)) err(1, "setns");
  close(own);
  return fd;
}

// As a router does: one hop less, and the header's checksum brought along (RFC 1624).
static inline void one_hop(uint8_t *packet) {
  if (packet[0] >> 4 == 6) {
    packet[7]--;
    return;
  }
  packet[8]--;
  uint32_t sum = (packet[10] << 8 | packet[11]) + 0x100;
  sum = (sum & 0xffff) + (sum >> 16);
  packet[10] = sum >> 8;
  packet[11] = sum;
}

// A thread for each direction and queue. `flags` for TUNSETIFF; `prepare` sees every descriptor before it is used.
static void forward_all(char **argv, int flags, void (*prepare)(int), void *(*loop)(void *)) {
  int queues = atoi(argv[5]);
  if (queues < 1 || queues > MOST_QUEUES) errx(2, "QUEUES is 1 to %d", MOST_QUEUES);
  static struct way ways[2 * MOST_QUEUES];
  for (int i = 0; i < queues; i++) {
    int a = open_queue(atoi(argv[1]), argv[2], flags), b = open_queue(atoi(argv[3]), argv[4], flags);
    if (prepare) prepare(a), prepare(b);
    ways[2 * i] = (struct way){a, b};
    ways[2 * i + 1] = (struct way){b, a};
  }
  puts("ready");
  fflush(stdout);
  if (getchar() == EOF) return;
  for (int i = 0; i < 2 * queues; i++) {
    pthread_t thread;
    if (pthread_create(&thread, 0, loop, &ways[i])) err(1, "pthread_create");
  }
  while (getchar() != EOF) continue;
}
#endif
