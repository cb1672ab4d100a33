// Strings, arrays, classes and a Set: what a filter may use when it has a memory of its own (isolation: memory).
import { counter, OUTPUT_DROP, OUTPUT_NEXT, Output, Packet, PROTOCOL_UDP, Udp } from "pktflow/assembly";
import { Counters, params } from "./params";

const DNS_PORT: u16 = 53;
/** RFC 1035, 4.1.1: the header, whose third octet begins with QR; QDCOUNT at 4. */
const DNS_HEADER: usize = 12;
const UDP_HEADER: usize = 8;

class Names {
  private readonly blocked: Set<string> = new Set<string>();

  add(name: string): void {
    this.blocked.add(name.toLowerCase());
  }

  /** The name, or one that it is below, is blocked. */
  has(labels: string[]): bool {
    for (let i = 0; i < labels.length; i++) {
      if (this.blocked.has(labels.slice(i).join("."))) return true;
    }
    return false;
  }
}

const names = new Names();

export function init(): void {
  for (let i = 0; i < params.names.length; i++) {
    const name = params.names.at(i);
    names.add(String.UTF8.decodeUnsafe(name.address, name.length));
  }
}

/** The labels of the name at `at` (RFC 1035, 3.1), or null: it does not end before `end`. Queries have no pointers. */
function labelsAt(at: usize, end: usize): string[] | null {
  const labels: string[] = [];
  while (at < end) {
    const length = <usize>load<u8>(at);
    if (length == 0) return labels;
    if (length > 63 || at + 1 + length > end || labels.length == 127) return null;
    labels.push(String.UTF8.decodeUnsafe(at + 1, length).toLowerCase());
    at += 1 + length;
  }
  return null;
}

export function packet(p: Packet): Output {
  if (!p.isTransport(PROTOCOL_UDP) || Udp.of(p).destinationPort != DNS_PORT) return OUTPUT_NEXT;
  const message = p.transport + UDP_HEADER;
  if (message + DNS_HEADER > p.ipEnd || (load<u8>(message, 2) & 0x80) != 0) return OUTPUT_NEXT;
  const labels = labelsAt(message + DNS_HEADER, p.ipEnd);
  if (labels === null) {
    counter(Counters.malformed).add(1);
    return OUTPUT_NEXT;
  }
  if (!names.has(labels)) return OUTPUT_NEXT;
  counter(Counters.blocked).add(1);
  return OUTPUT_DROP;
}
