// As forward.c, with virtio_net_hdr and all offloads there are: a read or write carries up to 64 KiB of a flow.
#include "tun.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#define HEADER 10

static void offloads(int fd) {
  unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  // UDP segmentation came with Linux 6.2.
  if (ioctl(fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) && ioctl(fd, TUNSETOFFLOAD, tcp)) err(1, "TUNSETOFFLOAD");
}

static void *loop(void *argument) {
  struct way *way = argument;
  static __thread uint8_t packet[HEADER + 65536];
  for (;;) {
    ssize_t length = read(way->in, packet, sizeof packet);
    if (length < HEADER + 20) continue;
    one_hop(packet + HEADER);
    if (write(way->out, packet, length) < 0) continue;
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (argc < 6) errx(2, "usage: forward-vnet NETNS_A DEVICE_A NETNS_B DEVICE_B QUEUES");
  forward_all(argv, IFF_VNET_HDR, offloads, loop);
}
