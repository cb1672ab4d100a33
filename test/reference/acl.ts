/** Access control as a plain loop over the rules, from what the packet was made of, not from its bytes. */
import { parseAddress, splitPrefix } from "../../src/params/addresses.ts";

export interface AclRule {
  action: string;
  proto?: number[];
  from?: string[];
  to?: string[];
  "from-port"?: string[];
  "to-port"?: string[];
  "icmp-type"?: number[];
  "icmp-code"?: number[];
  "tcp-flags"?: string[];
  fragments?: string[];
  "not-proto"?: number[];
  "not-from"?: string[];
  "not-to"?: string[];
  "not-from-port"?: string[];
  "not-to-port"?: string[];
  "tcp-flags-set"?: string[];
  "tcp-flags-clear"?: string[];
  dscp?: number[];
  "not-dscp"?: number[];
  length?: string[];
  "not-length"?: string[];
  mark?: number[];
  "mark-mask"?: number;
}

export interface AclPacket {
  family: 4 | 6;
  from: string;
  to: string;
  protocol: number;
  fragment: "whole" | "first" | "later";
  /** Of TCP and UDP, where the transport header is there. */
  ports?: [number, number];
  /** Of ICMP. */
  icmp?: [number, number];
  /** Of TCP. */
  flags?: string[];
  dscp: number;
  /** Bytes of the IP packet. */
  length: number;
}

/** Every rule that counts the packet, in order: rules that mark it, then the one that decides, if there is one. */
export function decide(
  rules: AclRule[],
  packet: AclPacket,
): { hits: number[]; action?: string; mark: number } {
  const hits: number[] = [];
  let mark = 0;
  for (const [i, rule] of rules.entries()) {
    if (!matches(rule, packet, mark)) continue;
    hits.push(i);
    const set = /^mark (\d+)$/.exec(rule.action);
    if (!set) return { hits, action: rule.action, mark };
    mark = Number(set[1]);
  }
  return { hits, mark };
}

function matches(rule: AclRule, packet: AclPacket, mark: number): boolean {
  const { ports, icmp, flags, dscp } = packet;
  const mask = rule["mark-mask"] ?? 0xffffffff;
  return (
    !rule["not-proto"]?.includes(packet.protocol) &&
    !rule["not-from"]?.some((prefix) => covers(prefix, packet.from)) &&
    !rule["not-to"]?.some((prefix) => covers(prefix, packet.to)) &&
    (rule["not-from-port"] === undefined ||
      (ports !== undefined && !rule["not-from-port"].some(within(ports[0])))) &&
    (rule["not-to-port"] === undefined ||
      (ports !== undefined && !rule["not-to-port"].some(within(ports[1])))) &&
    (rule["tcp-flags-set"] === undefined ||
      (flags !== undefined && rule["tcp-flags-set"].every((flag) => flags.includes(flag)))) &&
    (rule["tcp-flags-clear"] === undefined ||
      (flags !== undefined && !rule["tcp-flags-clear"].some((flag) => flags.includes(flag)))) &&
    (rule.dscp === undefined || rule.dscp.includes(dscp)) &&
    !rule["not-dscp"]?.includes(dscp) &&
    (rule.length === undefined || rule.length.some(within(packet.length))) &&
    !rule["not-length"]?.some(within(packet.length)) &&
    (rule.mark === undefined || rule.mark.some((wanted) => ((wanted ^ mark) & mask) === 0)) &&
    (rule.proto === undefined || rule.proto.includes(packet.protocol)) &&
    (rule.from === undefined || rule.from.some((prefix) => covers(prefix, packet.from))) &&
    (rule.to === undefined || rule.to.some((prefix) => covers(prefix, packet.to))) &&
    (rule["from-port"] === undefined || (ports !== undefined && rule["from-port"].some(within(ports[0])))) &&
    (rule["to-port"] === undefined || (ports !== undefined && rule["to-port"].some(within(ports[1])))) &&
    (rule["icmp-type"] === undefined || (icmp !== undefined && rule["icmp-type"].includes(icmp[0]))) &&
    (rule["icmp-code"] === undefined || (icmp !== undefined && rule["icmp-code"].includes(icmp[1]))) &&
    (rule["tcp-flags"] === undefined ||
      (flags !== undefined && rule["tcp-flags"].some((word) => TCP_FLAGS[word](new Set(flags))))) &&
    (rule.fragments === undefined || rule.fragments.includes(packet.fragment))
  );
}

const TCP_FLAGS: Record<string, (flags: Set<string>) => boolean> = {
  syn: (f) => f.has("syn") && !f.has("ack") && !f.has("rst") && !f.has("fin"),
  "syn-ack": (f) => f.has("syn") && f.has("ack") && !f.has("rst") && !f.has("fin"),
  established: (f) => f.has("ack") || f.has("rst"),
  fin: (f) => f.has("fin"),
  rst: (f) => f.has("rst"),
  none: (f) => f.size === 0,
};

function within(port: number): (range: string) => boolean {
  return (range) => {
    const [first, last = first] = range.split("-").map(Number);
    return port >= first && port <= last;
  };
}

/** Compares the prefix's bits one by one. */
function covers(prefix: string, address: string): boolean {
  const network = splitPrefix(prefix);
  const host = parseAddress(address);
  if (network.address.family !== host?.family) return false;
  const bit = (bytes: ArrayLike<number>, i: number) => (bytes[i >> 3] >> (7 - (i & 7))) & 1;
  for (let i = 0; i < network.length; i++) {
    if (bit(network.address.bytes, i) !== bit(host.bytes, i)) return false;
  }
  return true;
}
