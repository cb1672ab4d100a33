// The peer to beat: one blocking read and one write a packet.
#include "tun.h"

static void *loop(void *argument) {
  struct way *way = argument;
  static __thread uint8_t packet[65536];
  for (;;) {
    ssize_t length = read(way->in, packet, sizeof packet);
    if (length < 20) continue;
    one_hop(packet);
    // A full queue drops: flow control, not an error.
    if (write(way->out, packet, length) < 0) continue;
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 6) errx(2, "usage: forward NETNS_A DEVICE_A NETNS_B DEVICE_B QUEUES");
  forward_all(argv, 0, NULL, loop);
}
