// The work of the filters checksum, acl and nat in C, with the same checks: lengths before headers, every checksum
// verified, the first of N rules that matches (found by a table of protocol and port), a mapping a flow with its time.
#ifndef CHAIN_H
#define CHAIN_H
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define UDP 17
#define TCP 6

struct rule {
  uint32_t from, from_mask, to, to_mask;
  uint16_t first_port, last_port;
  uint8_t proto;
  bool accept;
  int next;
};

struct mapping {
  uint32_t address;
  uint16_t port, outside;
  uint8_t proto;
  bool used;
  uint64_t seen;
};

#define MAPPINGS (1 << 17)

struct chain {
  struct rule *rules;
  int count;
  // The first rule of a protocol and port; rules without a port are in every list.
  int first[2][65536];
  uint32_t inside, inside_mask, outside;
  struct mapping *mappings;
  int32_t by_port[2][65536];
  uint16_t next_port;
  uint64_t now, dropped;
};

static inline uint16_t get16(const uint8_t *at) { return at[0] << 8 | at[1]; }
static inline uint32_t get32(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return ntohl(value);
}
static inline void put16(uint8_t *at, uint16_t value) { at[0] = value >> 8, at[1] = value; }
static inline void put32(uint8_t *at, uint32_t value) {
  value = htonl(value);
  memcpy(at, &value, 4);
}

// RFC 1071, eight bytes at a time.
static inline uint64_t sum_bytes(const uint8_t *at, unsigned length, uint64_t sum) {
  for (; length >= 4; at += 4, length -= 4) {
    uint32_t word;
    memcpy(&word, at, 4);
    sum += word;
  }
  if (length >= 2) {
    uint16_t half;
    memcpy(&half, at, 2);
    sum += half, at += 2, length -= 2;
  }
  return length ? sum + at[0] : sum;
}
static inline uint16_t fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

static bool verify(const uint8_t *ip, unsigned length, unsigned header) {
  if (fold(sum_bytes(ip, header, 0)) != 0xffff) return false;
  unsigned payload = get16(ip + 2) - header;
  uint64_t pseudo = sum_bytes(ip + 12, 8, htons(ip[9]) + (uint64_t)htons(payload));
  const uint8_t *l4 = ip + header;
  (void)length;
  if (ip[9] == UDP && get16(l4 + 6) == 0) return true;
  return fold(sum_bytes(l4, payload, pseudo)) == 0xffff;
}

static bool accepted(struct chain *c, const uint8_t *ip, const uint8_t *l4) {
  uint32_t from = get32(ip + 12), to = get32(ip + 16);
  for (int i = c->first[ip[9] == TCP][get16(l4 + 2)]; i >= 0; i = c->rules[i].next) {
    struct rule *rule = &c->rules[i];
    if ((from & rule->from_mask) == rule->from && (to & rule->to_mask) == rule->to) return rule->accept;
  }
  return false;
}

static inline uint32_t hash(uint32_t address, uint16_t port, uint8_t proto) {
  uint64_t key = ((uint64_t)address << 24 ^ (uint64_t)port << 8 ^ proto) * 0x9e3779b97f4a7c15ull;
  return key >> 40 & (MAPPINGS - 1);
}

// RFC 1624: HC' = ~(~HC + ~m + m').
static inline void change(uint8_t *at, uint32_t difference) {
  uint32_t sum = (uint16_t)~get16(at) + difference;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  put16(at, ~sum);
}

static bool translate(struct chain *c, uint8_t *ip, uint8_t *l4) {
  uint32_t from = get32(ip + 12), to = get32(ip + 16);
  bool tcp = ip[9] == TCP;
  uint8_t *address, *port;
  uint32_t new_address;
  uint16_t new_port;
  if ((from & c->inside_mask) == c->inside) {
    uint16_t source = get16(l4);
    uint32_t at = hash(from, source, ip[9]);
    struct mapping *m;
    for (;; at = (at + 1) & (MAPPINGS - 1)) {
      m = &c->mappings[at];
      if (!m->used) {
        uint16_t free = source;
        for (int tries = 0; c->by_port[tcp][free] >= 0 && tries < 65536; tries++) free = c->next_port++ | 1024;
        if (c->by_port[tcp][free] >= 0) return false;
        *m = (struct mapping){from, source, free, ip[9], true, c->now};
        c->by_port[tcp][free] = at;
        break;
      }
      if (m->address == from && m->port == source && m->proto == ip[9]) break;
    }
    m->seen = c->now;
    address = ip + 12, port = l4, new_address = c->outside, new_port = m->outside;
  } else if (to == c->outside) {
    int32_t at = c->by_port[tcp][get16(l4 + 2)];
    if (at < 0) return false;
    c->mappings[at].seen = c->now;
    address = ip + 16, port = l4 + 2, new_address = c->mappings[at].address, new_port = c->mappings[at].port;
  } else {
    return true;
  }
  uint32_t old = get32(address);
  uint32_t of_address =
      (uint16_t)~(old >> 16) + (uint16_t)~old + (new_address >> 16) + (new_address & 0xffff);
  uint32_t of_port = (uint16_t)~get16(port) + new_port;
  put32(address, new_address);
  put16(port, new_port);
  change(ip + 10, of_address);
  uint8_t *sum = l4 + (tcp ? 16 : 6);
  if (tcp || get16(sum) != 0) change(sum, of_address + of_port);
  return true;
}

// true: it goes on.
static bool chain(struct chain *c, uint8_t *ip, unsigned length) {
  if (length < 20 || ip[0] >> 4 != 4) return false;
  unsigned header = (ip[0] & 15) * 4, total = get16(ip + 2);
  if (header < 20 || total < header || total > length) return false;
  if (get16(ip + 6) & 0x3fff) return false;
  uint8_t *l4 = ip + header;
  if (ip[9] != UDP && ip[9] != TCP) return false;
  if (total - header < (ip[9] == TCP ? 20 : 8)) return false;
  if (ip[9] == UDP && get16(l4 + 4) != total - header) return false;
  return verify(ip, length, header) && accepted(c, ip, l4) && translate(c, ip, l4);
}

// N - 1 rules that match nothing here, and one that accepts UDP to `port`.
static struct chain *make_chain(int rules, uint16_t port, const char *inside, int bits, const char *outside) {
  struct chain *c = calloc(1, sizeof *c);
  c->rules = calloc(rules, sizeof *c->rules);
  c->count = rules;
  c->mappings = calloc(MAPPINGS, sizeof *c->mappings);
  c->inside_mask = bits ? ~0u << (32 - bits) : 0;
  c->inside = ntohl(inet_addr(inside)) & c->inside_mask;
  c->outside = ntohl(inet_addr(outside));
  c->next_port = 1024;
  memset(c->by_port, -1, sizeof c->by_port);
  memset(c->first, -1, sizeof c->first);
  for (int i = rules - 1; i >= 0; i--) {
    struct rule *rule = &c->rules[i];
    if (i == rules - 1) {
      *rule = (struct rule){.first_port = port, .last_port = port, .proto = UDP, .accept = true};
    } else {
      *rule = (struct rule){.from = 0xac100000 | i << 4, .from_mask = ~0u << 4, .proto = i & 1 ? TCP : UDP};
      rule->first_port = rule->last_port = 10000 + i;
    }
    rule->next = c->first[rule->proto == TCP][rule->first_port];
    c->first[rule->proto == TCP][rule->first_port] = i;
  }
  return c;
}
#endif
