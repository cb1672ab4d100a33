// The chain alone, in memory: bursts of 64 packets of 10,000 flows or so, made anew and then timed.
//   chain RULES FLOWS SIZE SECONDS
// Prints ns a packet: the median of windows of 32 bursts.
#define _GNU_SOURCE
#include "chain.h"
#include <err.h>
#include <stdio.h>
#include <time.h>

#define BURST 64
#define WINDOW 32
#define PORT 53

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void make(uint8_t *ip, unsigned flow, unsigned size) {
  memset(ip, 0, size);
  ip[0] = 0x45, ip[8] = 64, ip[9] = UDP;
  put16(ip + 2, size);
  put32(ip + 12, 0x0a4d0001 + flow % 254);
  put32(ip + 16, 0xc6336401);
  put16(ip + 20, 1024 + flow / 254);
  put16(ip + 22, PORT);
  put16(ip + 24, size - 20);
  uint16_t header = ~fold(sum_bytes(ip, 20, 0));
  memcpy(ip + 10, &header, 2);
  uint64_t pseudo = sum_bytes(ip + 12, 8, htons(UDP) + (uint64_t)htons(size - 20));
  uint16_t sum = ~fold(sum_bytes(ip + 20, size - 20, pseudo));
  memcpy(ip + 26, sum ? &sum : &(uint16_t){0xffff}, 2);
}

int main(int argc, char **argv) {
  if (argc != 5) errx(2, "usage: chain RULES FLOWS SIZE SECONDS");
  unsigned flows = atoi(argv[2]), size = atoi(argv[3]);
  if (size < 28 || size > 1500 || flows < 1 || flows > 60000) errx(2, "FLOWS is 1 to 60000, SIZE 28 to 1500");
  struct chain *c = make_chain(atoi(argv[1]), PORT, "10.77.0.0", 24, "198.51.100.2");
  static uint8_t packets[BURST][1728];
  uint8_t *originals = malloc((size_t)flows * size);
  for (unsigned i = 0; i < flows; i++) make(originals + (size_t)i * size, i, size);
  static double windows[1 << 20];
  unsigned count = 0, flow = 0;
  unsigned long passed = 0, all = 0;
  double start = now(), warm = start + 0.3e9, end = warm + atof(argv[4]) * 1e9;
  for (double at = start; at < end && count < sizeof windows / sizeof *windows; at = now()) {
    double spent = 0;
    for (int burst = 0; burst < WINDOW; burst++) {
      for (int i = 0; i < BURST; i++, flow = flow + 1 == flows ? 0 : flow + 1)
        memcpy(packets[i] + 128, originals + (size_t)flow * size, size);
      double before = now();
      c->now = before;
      for (int i = 0; i < BURST; i++) passed += chain(c, packets[i] + 128, size);
      spent += now() - before;
      all += BURST;
    }
    if (at >= warm) windows[count++] = spent / (WINDOW * BURST);
  }
  if (passed != all) errx(1, "%lu of %lu packets did not pass", all - passed, all);
  qsort(windows, count, sizeof *windows, ascending);
  printf("%.2f\n", count ? windows[count / 2] : 0);
}
