/* Sets the DSCP of IPv4 packets and keeps their header's checksum right. ECN, the lower two bits of the octet, stays. */
#include "pktflow.h"
#include "params.h"

/* RFC 791, 3.1 */
enum { VERSION_AND_TOS = 0, CHECKSUM = 10 };

static uint8_t filter(struct pf_packet *p) {
  if (!pf_is_ipv4(p)) return OUTPUT_NEXT;
  uint8_t *ip = pf_ip(p);
  uint16_t before = pf_load16(ip + VERSION_AND_TOS);
  uint16_t after = (before & 0xff03) | (uint16_t)(param_dscp() << 2);
  if (after == before) return OUTPUT_NEXT;
  pf_store16(ip + VERSION_AND_TOS, after);
  pf_store16(ip + CHECKSUM, pf_checksum_update(pf_load16(ip + CHECKSUM), before, after));
  pf_count(COUNTER_CHANGED, 1);
  return OUTPUT_NEXT;
}

PF_PACKET_FILTER(filter)
