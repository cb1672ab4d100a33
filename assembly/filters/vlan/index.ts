// A tag stands between the addresses and what the frame carries; the addresses move, all else stays.
//
//   before      [destination source | type ...]
//   pushed   [destination source | TPID PCP DEI VID | type ...]
//
// A super-packet gets one tag for all its segments, and the kernel cuts it behind the tag.
//
// The worker's state is a table by VLAN of the outputs by which popped frames leave.

import {
  be16,
  counter,
  ETHERNET_HEADER,
  ETHERNET_TYPE,
  ETHERTYPE_QINQ,
  ETHERTYPE_VLAN,
  Ipv4,
  Ipv6,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_MALFORMED,
  PACKET_FLAG_NOT_IP,
  PACKET_FLAG_VLAN,
  Packet,
  setBe16,
  VLAN_TAG,
  workerState,
} from "pktflow/assembly";
import { dissectAgain } from "pktflow/assembly/core/dissect-again";
import { pull, push } from "pktflow/assembly/lib/headroom";
import { Action, Counters, Dei, Protocol, params } from "./params";

const ADDRESSES: u32 = 12;
const VLANS: u32 = 4096;
const ID_MASK: u16 = 0xfff;
const DEI_BIT: u16 = 0x1000;
const PRIORITY_SHIFT: u16 = 13;
const KEEP: u8 = 8;
const DSCP: u8 = 9;
/** In the table: not among vlans. */
const NOT_LISTED: u8 = 255;

let tagged: usize = 0;

export function init(): void {
  tagged = workerState();
  const vlans = params.vlans;
  memory.fill(tagged, vlans.length == 0 ? OUTPUT_NEXT : NOT_LISTED, VLANS);
  for (let i = 0; i < vlans.length; i++) store<u8>(tagged + vlans.at(i).id, vlans.at(i).via);
}

export function reload(): void {
  init();
}

export function packet(p: Packet): Output {
  if (!p.isFrame) return malformed();
  const type = be16(<usize>p.data + ETHERNET_TYPE);
  const isTagged = type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ;
  if (params.action == Action.push) return pushTag(p, isTagged);
  if (!isTagged) {
    counter(Counters.untagged).add(1);
    return params.untagged;
  }
  return params.action == Action.pop ? popTag(p) : modify(p, type);
}

function malformed(): Output {
  counter(Counters.malformed).add(1);
  return OUTPUT_DROP;
}

function pushTag(p: Packet, isTagged: bool): Output {
  const old: u16 = isTagged ? be16(<usize>p.data + ETHERNET_HEADER) : 0;
  const control = params.id | bits(p, old);
  if (!push(p, VLAN_TAG)) return malformed();
  const data = <usize>p.data;
  memory.copy(data, data + VLAN_TAG, ADDRESSES);
  setBe16(data + ETHERNET_TYPE, params.protocol == Protocol.dot1ad ? ETHERTYPE_QINQ : ETHERTYPE_VLAN);
  setBe16(data + ETHERNET_HEADER, control);
  p.flags |= PACKET_FLAG_VLAN;
  counter(Counters.pushed).add(1);
  return OUTPUT_NEXT;
}

function popTag(p: Packet): Output {
  const id = be16(<usize>p.data + ETHERNET_HEADER) & ID_MASK;
  let output: u8 = params.untagged;
  if (id != 0) {
    output = load<u8>(tagged + id);
    if (output == NOT_LISTED) {
      counter(Counters.other).add(1);
      return params.other;
    }
  } else {
    counter(Counters.untagged).add(1);
  }
  const data = <usize>p.data;
  memory.copy(data + VLAN_TAG, data, ADDRESSES);
  pull(p, VLAN_TAG);
  describe(p);
  counter(Counters.popped).add(1);
  return output;
}

/** What is left may have a tag, and, behind more tags than dissect looks through, an IP packet that it did not see. */
function describe(p: Packet): void {
  if (p.has(PACKET_FLAG_NOT_IP | PACKET_FLAG_MALFORMED)) {
    dissectAgain(p, 2);
    return;
  }
  const type = be16(<usize>p.data + ETHERNET_TYPE);
  if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ) p.flags &= ~PACKET_FLAG_VLAN;
}

function modify(p: Packet, type: u16): Output {
  const at = <usize>p.data + ETHERNET_HEADER;
  const old = be16(at);
  const id: u16 = params.id == 0 ? old & ID_MASK : params.id;
  setBe16(at, id | bits(p, old));
  let protocol = type;
  if (params.protocol == Protocol.dot1q) protocol = ETHERTYPE_VLAN;
  else if (params.protocol == Protocol.dot1ad) protocol = ETHERTYPE_QINQ;
  setBe16(<usize>p.data + ETHERNET_TYPE, protocol);
  counter(Counters.modified).add(1);
  return OUTPUT_NEXT;
}

/** PCP and DEI of a tag. @param old that of the tag which was the outer one so far, or 0 */
function bits(p: Packet, old: u16): u16 {
  let priority: u16 = params.priority;
  if (params.priority == KEEP) priority = old >> PRIORITY_SHIFT;
  else if (params.priority == DSCP) priority = precedence(p);
  let dei = old & DEI_BIT;
  if (params.dei == Dei.clear) dei = 0;
  else if (params.dei == Dei.set) dei = DEI_BIT;
  return (priority << PRIORITY_SHIFT) | dei;
}

function precedence(p: Packet): u16 {
  if (p.isIpv4) return Ipv4.of(p).tos >> 5;
  return p.isIpv6 ? Ipv6.of(p).trafficClass >> 5 : 0;
}
