// What the forwarders share: they are started as
//   forward NETNS_A DEVICE_A NETNS_B DEVICE_B QUEUES THREADS [...]
// with the numbers of two open network namespaces, open a TUN device in each, print "ready", wait for a line while
// somebody gives the devices addresses and routes, forward both ways, and end with their standard input.
// THREADS a queue: 2, each waits in read for the packets of one direction; 1, it serves both directions, as a worker of
// pktflow does, and waits in poll.
#ifndef TUN_H
#define TUN_H
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MOST_QUEUES 256
#define USAGE "NETNS_A DEVICE_A NETNS_B DEVICE_B QUEUES THREADS"
// A struct virtio_net_hdr and the longest IP packet.
#define LONGEST (10 + 65536)
// Packets of one direction before the other has its turn.
#define BURST 64

struct way {
  int in, out;
};

// What a program does with a packet; false: it is not forwarded.
typedef bool (*work)(uint8_t *packet, ssize_t length);

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

// Opens the queues, and starts a thread for every `group` ways of the 2 * QUEUES. `flags` for TUNSETIFF; `prepare` sees
// every descriptor before it is used.
static inline void start_threads(char **argv, int flags, void (*prepare)(int), int group, void *(*loop)(void *)) {
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
  for (int i = 0; i < 2 * queues; i += group) {
    pthread_t thread;
    if (pthread_create(&thread, 0, loop, &ways[i])) err(1, "pthread_create");
  }
  while (getchar() != EOF) continue;
}

static work do_work;

// False: there was no packet.
static inline bool pass(const struct way *way, uint8_t *packet) {
  ssize_t length = read(way->in, packet, LONGEST);
  if (length < 0) return false;
  // A full queue drops: flow control, not an error.
  if (length >= 20 && do_work(packet, length) && write(way->out, packet, length) < 0) return true;
  return true;
}

static void *one_way(void *argument) {
  static __thread uint8_t packet[LONGEST];
  for (;;) pass(argument, packet);
  return NULL;
}

static void *both_ways(void *argument) {
  struct way *ways = argument;
  static __thread uint8_t packet[LONGEST];
  for (int i = 0; i < 2; i++)
    if (fcntl(ways[i].in, F_SETFL, O_NONBLOCK)) err(1, "O_NONBLOCK");
  struct pollfd wait[2] = {{.fd = ways[0].in, .events = POLLIN}, {.fd = ways[1].in, .events = POLLIN}};
  for (;;) {
    bool dry = true;
    for (int i = 0; i < 2; i++)
      for (int n = 0; n < BURST && pass(&ways[i], packet); n++) dry = false;
    if (dry && poll(wait, 2, -1) < 0 && errno != EINTR) err(1, "poll");
  }
  return NULL;
}

static inline void forward_all(char **argv, int flags, void (*prepare)(int), work work) {
  int threads = atoi(argv[6]);
  if (threads != 1 && threads != 2) errx(2, "THREADS is 1 or 2");
  do_work = work;
  start_threads(argv, flags, prepare, threads == 1 ? 2 : 1, threads == 1 ? both_ways : one_way);
}
#endif
