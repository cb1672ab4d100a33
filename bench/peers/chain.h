// The work of the filters checksum, acl and nat in C, with the same checks: lengths before headers, every checksum
// verified, the first of N rules that matches (rules.h), a mapping an inside endpoint, and a session a remote address of
// it, with its time and what its packets' checksums change by (address-dependent filtering, RFC 4787 section 5). What is
// counted: packets and bytes in and out, drops by reason, hits of each rule.
#ifndef CHAIN_H
#define CHAIN_H
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "rules.h"

#define UDP 17
#define TCP 6

// RFC 4787 REQ-5 says two minutes at least; pktflow's default is five. ns
#define TIMEOUT 300000000000ull

enum verdict { PASSED, MALFORMED, BAD_CHECKSUM, DENIED, NO_SESSION, VERDICTS };

struct mapping {
  uint32_t address;
  uint16_t port, outside;
  uint8_t proto;
  bool used;
};

// 32 bytes: two in a cache line.
struct session {
  uint32_t inside, remote;
  uint16_t port, outside;
  uint8_t proto;
  bool used;
  // RFC 1624: -m + m' of the address, and of address and port, for packets that go out and that come in.
  uint16_t out_address, out_both, in_address, in_both;
  uint64_t seen;
};
_Static_assert(sizeof(struct session) == 32, "two sessions fill a cache line");

#define MAPPINGS (1 << 17)
#define SESSIONS (1 << 18)

struct chain {
  struct rule *rules;
  // Of UDP and of TCP.
  struct tree *trees[2];
  uint32_t inside, inside_mask, outside;
  struct mapping *mappings;
  struct session *sessions;
  uint32_t session_count;
  int32_t by_port[2][65536];
  uint16_t next_port;
  uint64_t now, bytes_in, bytes_out, verdicts[VERDICTS];
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
  const uint32_t keys[KEYS] = {get32(ip + 12), get32(ip + 16), get16(l4), get16(l4 + 2)};
  struct rule *rule = match(c->trees[ip[9] == TCP], keys, 0);
  if (!rule) return false;
  rule->hits++;
  return rule->accept;
}

static inline uint64_t hash(uint32_t address, uint16_t port, uint8_t proto, uint32_t remote) {
  uint64_t key = ((uint64_t)address << 24 ^ (uint64_t)port << 8 ^ proto) * 0x9e3779b97f4a7c15ull;
  return ((key ^ key >> 32 ^ remote) * 0xd6e8feb86659fd93ull) >> 32;
}

static inline uint16_t fold16(uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

// RFC 1624: HC' = ~(~HC + ~m + m').
static inline void change(uint8_t *at, uint16_t difference) {
  put16(at, ~fold16((uint16_t)~get16(at) + (uint32_t)difference));
}

static inline uint32_t halves(uint32_t value) { return (value >> 16) + (value & 0xffff); }

// One for all remote addresses (endpoint-independent mapping). -1: there is no port, or no room.
static int32_t mapping_of(struct chain *c, uint32_t address, uint16_t port, uint8_t proto) {
  bool tcp = proto == TCP;
  uint32_t at = hash(address, port, proto, 0) & (MAPPINGS - 1);
  for (uint32_t tries = 0; tries < MAPPINGS; tries++, at = (at + 1) & (MAPPINGS - 1)) {
    struct mapping *m = &c->mappings[at];
    if (m->used && m->address == address && m->port == port && m->proto == proto) return at;
    if (m->used) continue;
    uint16_t free = port;
    for (int i = 0; c->by_port[tcp][free] >= 0 && i < 65536; i++)
      free = c->next_port = c->next_port == 65535 ? 1024 : c->next_port + 1;
    if (c->by_port[tcp][free] >= 0) return -1;
    *m = (struct mapping){address, port, free, proto, true};
    c->by_port[tcp][free] = at;
    return at;
  }
  return -1;
}

// The session, or the free place where it would be.
static inline struct session *session_at(struct chain *c, uint32_t inside, uint16_t port, uint8_t proto, uint32_t remote) {
  for (uint32_t at = hash(inside, port, proto, remote);; at++) {
    struct session *s = &c->sessions[at & (SESSIONS - 1)];
    if (!s->used || (s->inside == inside && s->remote == remote && s->port == port && s->proto == proto)) return s;
  }
}

static bool begin_session(struct chain *c, struct session *s, const uint8_t *ip, uint16_t port) {
  uint32_t inside = get32(ip + 12), old = halves(inside), new = halves(c->outside);
  // The search above ends at a free place, so some are left.
  if (c->session_count >= SESSIONS / 4 * 3) return false;
  int32_t at = mapping_of(c, inside, port, ip[9]);
  if (at < 0) return false;
  uint16_t outside = c->mappings[at].outside;
  uint16_t out = fold16(halves(~inside) + new), in = fold16(halves(~c->outside) + old);
  *s = (struct session){
      .inside = inside,
      .remote = get32(ip + 16),
      .port = port,
      .outside = outside,
      .proto = ip[9],
      .used = true,
      .out_address = out,
      .out_both = fold16(out + (uint16_t)~port + (uint32_t)outside),
      .in_address = in,
      .in_both = fold16(in + (uint16_t)~outside + (uint32_t)port),
  };
  c->session_count++;
  return true;
}

static bool translate(struct chain *c, uint8_t *ip, uint8_t *l4) {
  uint32_t from = get32(ip + 12), to = get32(ip + 16);
  bool tcp = ip[9] == TCP;
  uint8_t *sum = l4 + (tcp ? 16 : 6);
  bool summed = tcp || get16(sum) != 0;
  if ((from & c->inside_mask) == c->inside) {
    struct session *s = session_at(c, from, get16(l4), ip[9], to);
    if (!s->used && !begin_session(c, s, ip, get16(l4))) return false;
    s->seen = c->now;
    put32(ip + 12, c->outside);
    put16(l4, s->outside);
    change(ip + 10, s->out_address);
    if (summed) change(sum, s->out_both);
  } else if (to == c->outside) {
    int32_t at = c->by_port[tcp][get16(l4 + 2)];
    if (at < 0) return false;
    struct mapping *m = &c->mappings[at];
    // Only from where something has been sent to.
    struct session *s = session_at(c, m->address, m->port, ip[9], from);
    if (!s->used || c->now - s->seen > TIMEOUT) return false;
    s->seen = c->now;
    put32(ip + 16, s->inside);
    put16(l4 + 2, s->port);
    change(ip + 10, s->in_address);
    if (summed) change(sum, s->in_both);
  }
  return true;
}

static inline enum verdict judge(struct chain *c, uint8_t *ip, unsigned length) {
  if (length < 20 || ip[0] >> 4 != 4) return MALFORMED;
  unsigned header = (ip[0] & 15) * 4, total = get16(ip + 2);
  if (header < 20 || total < header || total > length) return MALFORMED;
  if (get16(ip + 6) & 0x3fff) return MALFORMED;
  uint8_t *l4 = ip + header;
  if (ip[9] != UDP && ip[9] != TCP) return MALFORMED;
  if (total - header < (ip[9] == TCP ? 20 : 8)) return MALFORMED;
  if (ip[9] == UDP && get16(l4 + 4) != total - header) return MALFORMED;
  if (!verify(ip, length, header)) return BAD_CHECKSUM;
  if (!accepted(c, ip, l4)) return DENIED;
  return translate(c, ip, l4) ? PASSED : NO_SESSION;
}

// true: it goes on.
static bool chain(struct chain *c, uint8_t *ip, unsigned length) {
  enum verdict verdict = judge(c, ip, length);
  c->verdicts[verdict]++, c->bytes_in += length;
  if (verdict == PASSED) c->bytes_out += length;
  return verdict == PASSED;
}

static struct tree *tree_of(struct chain *c, int count, const uint8_t *protocols, uint8_t protocol) {
  struct rule **list = malloc(count * sizeof *list);
  uint32_t length = 0;
  for (int i = 0; i < count; i++)
    if (protocols[i] == protocol) list[length++] = &c->rules[i];
  struct tree *tree = grow(list, length);
  free(list);
  return tree;
}

// N - 1 rules that match nothing here, and one that accepts UDP to `port`.
static struct chain *make_chain(int rules, uint16_t port, const char *inside, int bits, const char *outside) {
  struct chain *c = calloc(1, sizeof *c);
  c->rules = calloc(rules, sizeof *c->rules);
  c->mappings = calloc(MAPPINGS, sizeof *c->mappings);
  c->sessions = aligned_alloc(64, SESSIONS * sizeof *c->sessions);
  memset(c->sessions, 0, SESSIONS * sizeof *c->sessions);
  c->inside_mask = bits ? ~0u << (32 - bits) : 0;
  c->inside = ntohl(inet_addr(inside)) & c->inside_mask;
  c->outside = ntohl(inet_addr(outside));
  c->next_port = 1024;
  memset(c->by_port, -1, sizeof c->by_port);
  uint8_t *protocols = malloc(rules);
  for (int i = 0; i < rules; i++) {
    struct rule *rule = &c->rules[i];
    bool is_last = i == rules - 1;
    *rule = (struct rule){.high = {UINT32_MAX, UINT32_MAX, 65535, 65535}, .index = i, .accept = true};
    protocols[i] = is_last || !(i & 1) ? UDP : TCP;
    rule->low[TO_PORT] = rule->high[TO_PORT] = is_last ? port : 10000 + i;
    if (!is_last) rule->low[FROM] = 0xac100000 + i * 16, rule->high[FROM] = rule->low[FROM] + 15;
  }
  c->trees[0] = tree_of(c, rules, protocols, UDP);
  c->trees[1] = tree_of(c, rules, protocols, TCP);
  free(protocols);
  return c;
}
#endif
