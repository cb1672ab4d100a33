// A UDP load that is faster than what it loads: sendmmsg of UDP_SEGMENT buffers, which the kernel cuts into datagrams.
//   flood ADDRESS PORT PAYLOAD_BYTES SECONDS
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
enum { MESSAGES = 64, MOST_SEGMENTS = 60, MOST_BYTES = 65000 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
  if (argc != 5) errx(2, "usage: flood ADDRESS PORT PAYLOAD_BYTES SECONDS");
  int size = atoi(argv[3]);
  if (size < 1 || size > 1472) errx(2, "PAYLOAD_BYTES is 1 to 1472");
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
  if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) errx(2, "not an IPv4 address: %s", argv[1]);
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  if (s < 0 || connect(s, (struct sockaddr *)&to, sizeof to)) err(1, "connect %s", argv[1]);
  if (setsockopt(s, SOL_UDP, UDP_SEGMENT, &size, sizeof size)) err(1, "UDP_SEGMENT");
  int segments = MOST_BYTES / size < MOST_SEGMENTS ? MOST_BYTES / size : MOST_SEGMENTS;
  static char payload[MOST_BYTES];
  struct iovec part = {payload, (size_t)size * segments};
  struct mmsghdr messages[MESSAGES];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < MESSAGES; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
  double start = now(), end = start + atof(argv[4]);
  unsigned long sent = 0;
  while (now() < end) {
    int n = sendmmsg(s, messages, MESSAGES, 0);
    if (n > 0) sent += (unsigned long)n * segments;
  }
  printf("%.0f\n", sent / (now() - start));
}
