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

static bool hop(uint8_t *packet, ssize_t length) {
  if (length < HEADER + 20) return false;
  one_hop(packet + HEADER);
  return true;
}

int main(int argc, char **argv) {
  if (argc < 7) errx(2, "usage: forward-vnet " USAGE);
  forward_all(argv, IFF_VNET_HDR, offloads, hop);
}
