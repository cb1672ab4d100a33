/**
 * Reads the events that a filter leaves in a ring in its shared state (assembly/lib/event-ring.ts, where it is drawn): nat
 * says of mappings and sessions when they were made and ended. One reader a ring; thread: any.
 */
import type { PacketMemory } from "../batches/memory.ts";

/** Where nat's shared state says the ring's address: 0 where there is none. Twin of EVENTS in nat's settings.ts. */
export const NAT_EVENTS = 24;

const TAIL = 64;
const CAPACITY = 128;
const EVENTS = 192;
const EVENT = 32;
const KINDS = ["mapping-made", "mapping-ended", "session-made", "session-ended"] as const;

export interface NatEvent {
  kind: (typeof KINDS)[number];
  /** IP protocol number. */
  protocol: number;
  /** ms since the epoch, with a fraction. */
  time: number;
  inside: { address: string; port: number };
  outside: { address: string; port: number };
  /** Of sessions, where the filter was told to say it: without `event-remotes` there is none. */
  remote?: { address: string; port: number };
}

export class EventReader {
  private readonly m: PacketMemory;
  private readonly ring: number;

  /** @param sharedState address of the filter's shared state, in which its format has run */
  constructor(m: PacketMemory, sharedState: number) {
    this.m = m;
    this.ring = m.u32[(sharedState + NAT_EVENTS) >>> 2];
  }

  /** The oldest events that nobody has read, which then are gone. @param most events at a time */
  read(most = Number.POSITIVE_INFINITY): NatEvent[] {
    const { m, ring } = this;
    const events: NatEvent[] = [];
    if (ring === 0) return events;
    const capacity = m.u32[(ring + CAPACITY) >>> 2];
    while (events.length < most) {
      const number = m.u32[(ring + TAIL) >>> 2];
      const at = ring + EVENTS + (number & (capacity - 1)) * EVENT;
      if (Atomics.load(m.i32, at >>> 2) !== ((number + 1) | 0)) break;
      events.push(this.event(at));
      // The place is free for the event that comes after a whole turn.
      m.u32[(ring + TAIL) >>> 2] = number + 1;
      Atomics.store(m.i32, at >>> 2, (number + capacity) | 0);
    }
    return events;
  }

  private event(at: number): NatEvent {
    const { u8, u16, u32 } = this.m;
    const endpoint = (address: number, port: number) => ({
      address: [24, 16, 8, 0].map((shift) => (u32[(at + address) >>> 2] >>> shift) & 255).join("."),
      port: u16[(at + port) >>> 1],
    });
    const remote = endpoint(24, 30);
    return {
      kind: KINDS[u8[at + 4]],
      protocol: u8[at + 5],
      time: (u32[(at + 12) >>> 2] * 2 ** 32 + u32[(at + 8) >>> 2]) / 1e6,
      inside: endpoint(16, 6),
      outside: endpoint(20, 28),
      ...(remote.address === "0.0.0.0" ? {} : { remote }),
    };
  }
}
