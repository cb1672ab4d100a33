/** The generator's `flows` as numbers, and the walk from a flow's number to its addresses and ports. */
import { type Address, type Family, splitPrefix } from "../../params/addresses.ts";
import type { ParamValue, PortRange } from "../../params/types.ts";

export type Transport = "udp" | "tcp" | "icmp";

/** One entry of `flows`, checked. Plain data. */
export interface FlowEntry {
  family: Family;
  transport: Transport;
  from: AddressRange;
  to: AddressRange;
  fromPort: PortRange;
  toPort: PortRange;
  sizes: number[];
  count: number;
}

/** Hosts of a prefix, without IPv4's network and broadcast address and IPv6's subnet-router anycast address. */
export interface AddressRange {
  /** Bytes of the prefix. */
  prefix: number[];
  /** Host part of the first address. */
  first: number;
  /** How many addresses, 2^40 at most. */
  hosts: number;
}

export interface Flow {
  from: number[];
  to: number[];
  /** Identifier for ICMP echo. */
  fromPort: number;
  /** 0 for ICMP echo. */
  toPort: number;
}

const MOST_HOSTS = 2 ** 40;
const MOST_FLOWS = 2 ** 22;
const IP_HEADER = { 4: 20, 6: 40 } as const;
const TRANSPORT_HEADER = { udp: 8, tcp: 20, icmp: 8 } as const;

/** A place among the device's parameters, and what is wrong there. */
interface FlowProblem {
  path: (string | number)[];
  message: string;
}

/** Every entry of `flows` that cannot be made, and why. */
export function flowProblems(values: ParamValue[]): FlowProblem[] {
  const problems: FlowProblem[] = [];
  let total = 0;
  values.forEach((value, i) => {
    try {
      total += readFlow(value as Record<string, ParamValue>).count;
    } catch (error) {
      problems.push({ path: ["flows", i], message: (error as Error).message });
    }
  });
  if (problems.length === 0 && total > MOST_FLOWS) {
    problems.push({ path: ["flows"], message: `${total} flows, and ${MOST_FLOWS} is the most` });
  }
  return problems;
}

/** @throws Error that says which entry cannot be made, and why */
export function readFlows(values: ParamValue[]): FlowEntry[] {
  for (const { path, message } of flowProblems(values)) {
    const which = typeof path[1] === "number" ? `flow ${path[1] + 1}: ` : "";
    throw new Error(`generator: ${which}${message}`);
  }
  return values.map((value) => readFlow(value as Record<string, ParamValue>));
}

/** @throws Error that says why it cannot be made */
function readFlow(value: Record<string, ParamValue>): FlowEntry {
  const from = splitPrefix(value["from"] as string);
  const to = splitPrefix(value["to"] as string);
  const { family } = from.address;
  if (family !== to.address.family) {
    throw new Error(`from ${value["from"]} is IPv${family} and to ${value["to"]} is IPv${to.address.family}`);
  }
  const proto = value["proto"] as string;
  if (proto === "icmpv6" && family === 4)
    throw new Error(`icmpv6 goes over IPv6, and its addresses are IPv4`);
  const entry: FlowEntry = {
    family,
    transport: proto === "icmpv6" ? "icmp" : (proto as Transport),
    from: rangeOf(from.address, from.length),
    to: rangeOf(to.address, to.length),
    fromPort: value["from-port"] as PortRange,
    toPort: value["to-port"] as PortRange,
    sizes: value["size"] as number[],
    count: value["count"] as number,
  };
  const least = headerBytes(entry);
  const small = entry.sizes.find((size) => size < least);
  if (small !== undefined) {
    throw new Error(`size ${small} is too small for ${proto} over IPv${family}, which takes ${least} bytes`);
  }
  const most = distinctFlows(entry);
  if (entry.count > most) {
    throw new Error(
      `count is ${entry.count}, and its addresses and ports make ${most} different flows: widen from, to or from-port`,
    );
  }
  return entry;
}

/** Bytes of the IP and the transport header. */
export function headerBytes({ family, transport }: Pick<FlowEntry, "family" | "transport">): number {
  return IP_HEADER[family] + TRANSPORT_HEADER[transport];
}

function rangeOf({ family, bytes }: Address, length: number): AddressRange {
  const bits = (family === 4 ? 32 : 128) - length;
  const all = Math.min(2 ** bits, MOST_HOSTS);
  if (bits < 2) return { prefix: bytes, first: 0, hosts: all };
  return { prefix: bytes, first: 1, hosts: family === 4 ? all - 2 : all - 1 };
}

function portsIn({ first, last }: PortRange): number {
  return last - first + 1;
}

function distinctFlows({ transport, from, to, fromPort, toPort }: FlowEntry): number {
  return from.hosts * portsIn(fromPort) * to.hosts * (transport === "icmp" ? 1 : portsIn(toPort));
}

/** The entry's flow with this number: source addresses change fastest, then source ports, destinations, their ports. */
export function flowAt(entry: FlowEntry, index: number): Flow {
  const { transport, from, to, fromPort, toPort } = entry;
  let rest = index;
  const next = (radix: number) => {
    const digit = rest % radix;
    rest = Math.floor(rest / radix);
    return digit;
  };
  return {
    from: addressAt(from, next(from.hosts)),
    fromPort: fromPort.first + next(portsIn(fromPort)),
    to: addressAt(to, next(to.hosts)),
    toPort: transport === "icmp" ? 0 : toPort.first + next(portsIn(toPort)),
  };
}

function addressAt({ prefix, first }: AddressRange, index: number): number[] {
  const bytes = [...prefix];
  let host = first + index;
  for (let i = bytes.length - 1; host > 0; i--) {
    bytes[i] |= host % 256;
    host = Math.floor(host / 256);
  }
  return bytes;
}
