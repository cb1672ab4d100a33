// The peer to beat: forwards TUN to TUN with one blocking read and one write a packet, one thread a direction and queue.
//   forward NAMESPACE_A NAMESPACE_B QUEUES
// Opens device "a" (10.1.0.2/24) in the first and "b" (10.2.0.2/24) in the second namespace, default routes into them,
// and decrements the TTL on the way, as a router does.
#define _GNU_SOURCE
#include <err.h>
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

struct direction {
  int in, out;
};

static int open_queue(const char *name, const char *netns) {
  char path[256];
  int self = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  snprintf(path, sizeof path, "/run/netns/%s", netns);
  int target = open(path, O_RDONLY | O_CLOEXEC);
  if (self < 0 || target < 0 || setns(target, CLONE_NEWNET)) err(1, "%s", path);
  int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd < 0) err(1, "/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
  if (ioctl(fd, TUNSETIFF, &request)) err(1, "TUNSETIFF %s", name);
  if (setns(self, CLONE_NEWNET)) err(1, "setns");
  close(self);
  close(target);
  return fd;
}

static void *forward(void *argument) {
  struct direction *way = argument;
  static __thread uint8_t packet[65536];
  for (;;) {
    ssize_t length = read(way->in, packet, sizeof packet);
    if (length < 20) continue;
    if (packet[0] >> 4 == 4) {
      packet[8]--;
      uint32_t sum = (packet[10] << 8 | packet[11]) + 0x100;
      sum = (sum & 0xffff) + (sum >> 16);
      packet[10] = sum >> 8;
      packet[11] = sum;
    }
    if (write(way->out, packet, length) < 0) continue;
  }
  return NULL;
}

static void start(int in, int out) {
  pthread_t thread;
  struct direction *way = malloc(sizeof *way);
  *way = (struct direction){in, out};
  if (pthread_create(&thread, 0, forward, way)) err(1, "pthread_create");
}

static void run(const char *format, const char *netns) {
  char command[512];
  snprintf(command, sizeof command, format, netns, netns, netns);
  if (system(command)) errx(1, "failed: %s", command);
}

int main(int argc, char **argv) {
  if (argc != 4) errx(2, "usage: forward NAMESPACE_A NAMESPACE_B QUEUES");
  int queues = atoi(argv[3]);
  int a[256], b[256];
  if (queues < 1 || queues > 256) errx(2, "QUEUES is 1 to 256");
  for (int i = 0; i < queues; i++) a[i] = open_queue("a", argv[1]), b[i] = open_queue("b", argv[2]);
  run("ip -n %s addr add 10.1.0.2/24 dev a && ip -n %s link set dev a up && ip -n %s route add default dev a", argv[1]);
  run("ip -n %s addr add 10.2.0.2/24 dev b && ip -n %s link set dev b up && ip -n %s route add default dev b", argv[2]);
  for (int i = 0; i < queues; i++) start(a[i], b[i]), start(b[i], a[i]);
  puts("ready");
  fflush(stdout);
  pause();
}
