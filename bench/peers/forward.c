// The peer to beat: one read and one write a packet.
#include "tun.h"

static bool hop(uint8_t *packet, ssize_t length) {
  (void)length;
  one_hop(packet);
  return true;
}

int main(int argc, char **argv) {
  if (argc < 7) errx(2, "usage: forward " USAGE);
  forward_all(argv, 0, NULL, hop);
}
