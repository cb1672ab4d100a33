/*
 * A packet filter in C: a folder with filter.yaml, cases.yaml and filter.c, which includes this and the params.h that is
 * generated from filter.yaml. It has a memory of its own (isolation: memory), so it may have data and statics; it can touch
 * copies of the packets at hand and nothing else. There is no libc. The host's part of the memory lies behind what there is
 * at the start; an allocator that takes all memory must export allocate(bytes) instead, from which the host then asks it.
 *
 *     #include "pktflow.h"
 *     #include "params.h"
 *
 *     static uint8_t filter(struct pf_packet *p) {
 *       return pf_is_transport(p, PF_UDP) && pf_load16(pf_transport(p) + 2) == param_port() ? OUTPUT_DROP : OUTPUT_NEXT;
 *     }
 *     PF_PACKET_FILTER(filter)
 *
 * Addresses are pointers, packets' numbers big-endian: pf_load16() and pf_load32() give them in the processor's order.
 * The layouts are those of assembly/abi/layout.ts; a test compares them.
 */
#ifndef PKTFLOW_H
#define PKTFLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PF_EXPORT(name) __attribute__((export_name(name), used))

enum { PF_ICMP = 1, PF_TCP = 6, PF_UDP = 17, PF_ICMPV6 = 58 };

enum {
  PF_FLAG_IPV4 = 1 << 0,
  PF_FLAG_IPV6 = 1 << 1,
  PF_FLAG_FRAGMENT = 1 << 2,
  PF_FLAG_FIRST_FRAGMENT = 1 << 3,
  PF_FLAG_OPTIONS = 1 << 4,
  PF_FLAG_MALFORMED = 1 << 5,
  /* The transport checksum holds the pseudo-header's sum only, and is completed where the packet leaves. */
  PF_FLAG_CSUM_PARTIAL = 1 << 6,
};

/* One packet: the descriptor of assembly/abi/packet.ts. May be changed: data and length within the slot, mark, output. */
struct pf_packet {
  uint8_t *data;
  uint32_t length;
  uint16_t l3, l4, payload;
  uint8_t protocol, output;
  uint32_t flags, reserved;
  uint8_t device, queue;
  uint16_t error;
  uint32_t mark;
  uint8_t vnet_flags, vnet_gso_type;
  uint16_t vnet_hdr_len, vnet_gso_size, vnet_csum_start, vnet_csum_offset, vnet_num_buffers;
  uint32_t datagrams;
  uint64_t timestamp; /* ns */
  uint8_t *slot;
  uint32_t capacity;
};
_Static_assert(sizeof(struct pf_packet) == 64, "a descriptor is 64 bytes");

/* What the filter knows beside its packets. */
struct pf_context {
  uint32_t worker, workers;
  uint64_t now;        /* CLOCK_MONOTONIC at the start of the batch, ns */
  uint64_t wall_clock; /* since the epoch, ns */
  uint64_t random;
  const uint8_t *params;
  uint8_t *state; /* filter.yaml's state, zeroed */
  uint32_t state_bytes;
  uint8_t *shared_state; /* none: a memory of its own is shared with nobody */
  uint32_t shared_state_bytes;
  uint64_t *counters;
};

/* Of this instance; set before init. */
extern const struct pf_context *pf_context;

static inline uint16_t pf_load16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static inline uint32_t pf_load32(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}
static inline void pf_store16(uint8_t *at, uint16_t value) { at[0] = value >> 8, at[1] = (uint8_t)value; }

static inline bool pf_is_ipv4(const struct pf_packet *p) { return p->flags & PF_FLAG_IPV4; }
static inline bool pf_is_ipv6(const struct pf_packet *p) { return p->flags & PF_FLAG_IPV6; }
/* A whole header of that protocol is at pf_transport(). */
static inline bool pf_is_transport(const struct pf_packet *p, uint8_t protocol) {
  return p->protocol == protocol && p->l4 != 0;
}
/* Safe to read where pf_is_ipv4 or pf_is_ipv6, and pf_is_transport. */
static inline uint8_t *pf_ip(const struct pf_packet *p) { return p->data + p->l3; }
static inline uint8_t *pf_transport(const struct pf_packet *p) { return p->data + p->l4; }
static inline uint8_t *pf_end(const struct pf_packet *p) { return p->data + p->length; }

/* Adds to one of the filter's counters: COUNTER_NAME of params.h. */
static inline void pf_count(uint32_t counter, uint64_t n) { pf_context->counters[counter] += n; }

/*
 * A checksum after a 16-bit word that it covers has changed (RFC 1624, equation 3). Both in the processor's order.
 */
static inline uint16_t pf_checksum_update(uint16_t checksum, uint16_t before, uint16_t after) {
  uint32_t sum = (uint16_t)~checksum + (uint32_t)(uint16_t)~before + after;
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~((sum & 0xffff) + (sum >> 16));
}

/*
 * Says a message of filter.yaml's `logs` (LOG_NAME of params.h), with numbers for {a} and {b}. What finds no room is counted.
 */
static inline void pf_log(uint32_t message, uint64_t a, uint64_t b) {
  uint32_t *ring = *(uint32_t **)((const uint8_t *)pf_context + 140);
  if (!ring) return;
  if (ring[0] - ring[16] >= 32) {
    ring[1]++;
    return;
  }
  uint64_t *record = (uint64_t *)((uint8_t *)ring + 128 + ring[0] % 32 * 32);
  record[0] = pf_context->wall_clock, record[1] = message, record[2] = a, record[3] = b;
  ring[0]++;
}

/* Makes the module of a function that is called for each packet and returns its output. */
#define PF_PACKET_FILTER(filter)                                                                     \
  const struct pf_context *pf_context;                                                               \
  struct pf_packet **progressAddress;                                                                \
  PF_EXPORT("abi") int32_t pf_abi(void) { return 1; }                                                \
  PF_EXPORT("init") void pf_init(const struct pf_context *context) { pf_context = context; }         \
  PF_EXPORT("process") void pf_process(struct pf_packet **vector, uint32_t count) {                  \
    for (struct pf_packet **at = vector; at < vector + count; at++) {                                \
      progressAddress = at;                                                                          \
      __asm__ volatile("" ::: "memory");                                                             \
      (*at)->output = filter(*at);                                                                   \
    }                                                                                                \
  }

#endif
