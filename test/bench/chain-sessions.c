// 50,000 sessions through the NAT of bench/peers/chain.h: out, back, and from a remote address that was not sent to.
#include "../../bench/peers/chain.h"
#include <stdio.h>

static void make(uint8_t *ip, uint32_t from, uint16_t from_port, uint32_t to, uint16_t to_port) {
  memset(ip, 0, 64);
  ip[0] = 0x45, ip[8] = 64, ip[9] = UDP;
  put16(ip + 2, 64), put32(ip + 12, from), put32(ip + 16, to);
  put16(ip + 20, from_port), put16(ip + 22, to_port), put16(ip + 24, 44);
  uint16_t header = ~fold(sum_bytes(ip, 20, 0));
  memcpy(ip + 10, &header, 2);
  uint16_t sum = ~fold(sum_bytes(ip + 20, 44, sum_bytes(ip + 12, 8, htons(UDP) + (uint64_t)htons(44))));
  memcpy(ip + 26, &sum, 2);
}

int main(void) {
  struct chain *c = make_chain(4, 53, "10.77.0.0", 24, "198.51.100.2");
  unsigned out = 0, back = 0, strangers = 0;
  for (unsigned i = 0; i < 50000; i++) {
    uint8_t ip[64];
    uint32_t inside = 0x0a4d0001 + i % 254, remote = 0xc6336401 + (i % 3 ? 0 : 256);
    uint16_t port = 1024 + i / 254;
    make(ip, inside, port, remote, 53);
    out += chain(c, ip, 64) && verify(ip, 64, 20) && get32(ip + 12) == c->outside;
    uint16_t outside = get16(ip + 20);
    make(ip, remote, 53, c->outside, outside);
    back += translate(c, ip, ip + 20) && verify(ip, 64, 20) && get32(ip + 16) == inside && get16(ip + 22) == port;
    make(ip, 0x08080808, 53, c->outside, outside);
    strangers += translate(c, ip, ip + 20);
  }
  printf("%u %u %u %u\n", out, back, strangers, c->session_count);
}
