/**
 * What the host does for a filter that holds packets, for one filter on its own: slots for what it has in hand, and what it
 * emits taken out in order. The real host's part is workers/hold.ts and core's emit.
 */
import { BATCH, CONTEXT, DESCRIPTOR, OUTPUT_HOLD } from "../batches/layout.ts";
import { batchAt, batchCount, batchPush, type PacketMemory } from "../batches/memory.ts";

/** Packets that a filter may have in hand in a case, unless it says so itself. */
export const HELD_SLOTS = 64;
const HOLDER = 1 << 16;
const HOLDER_MASK = 0x7fff0000;

export interface Emission {
  output: number;
  bytes: Uint8Array;
  /** ns, by the clock that the filter is told. */
  at: number;
}

/** Addresses that a Bench has set aside. */
export interface HoldingPlan {
  emitted: number;
  holders: number;
  descriptors: number;
  free: number;
  slots: number;
}

export class Holding {
  private readonly m: PacketMemory;
  private readonly plan: HoldingPlan;
  /** How many were emitted that no filter held, or twice. */
  private strays = 0;

  constructor(m: PacketMemory, plan: HoldingPlan) {
    this.m = m;
    this.plan = plan;
    m.u32[(plan.emitted + BATCH.CAPACITY) >>> 2] = plan.slots;
    for (let i = plan.slots - 1; i >= 0; i--) batchPush(m, plan.free, plan.descriptors + i * DESCRIPTOR.SIZE);
  }

  /** Tells an instance that it may hold packets. @param limit its manifest's */
  allow(context: number, limit: number): void {
    const word = (offset: number, value: number) => {
      this.m.u32[(context + offset) >>> 2] = value;
    };
    word(CONTEXT.EMITTED, this.plan.emitted);
    word(CONTEXT.HOLDERS, this.plan.holders);
    word(CONTEXT.DESCRIPTORS, this.plan.descriptors);
    word(CONTEXT.HOLDER, HOLDER);
    word(CONTEXT.HOLD_LIMIT, Math.min(limit, this.plan.slots));
  }

  /** Does a filter hold this packet? */
  isHeld(descriptor: number): boolean {
    const isSaid = this.m.u8[descriptor + DESCRIPTOR.OUTPUT] === OUTPUT_HOLD;
    return isSaid && (this.m.u32[this.holderOf(descriptor)] & HOLDER_MASK) === HOLDER;
  }

  /** The packets that an instance has emitted: their slots are free again. */
  take(at: number): Emission[] {
    const { m } = this;
    const { emitted, free } = this.plan;
    const emissions: Emission[] = [];
    for (let i = 0; i < batchCount(m, emitted); i++) {
      const d = batchAt(m, emitted, i);
      const holder = m.u32[this.holderOf(d)];
      if ((holder & HOLDER_MASK) !== HOLDER) {
        this.strays++;
        continue;
      }
      m.u32[this.holderOf(d)] = 0;
      const data = m.u32[(d + DESCRIPTOR.DATA) >>> 2];
      const bytes = m.u8.slice(data, data + m.u32[(d + DESCRIPTOR.LENGTH) >>> 2]);
      emissions.push({ output: (holder >>> 8) & 0xff, bytes, at });
      batchPush(m, free, d);
    }
    m.u32[emitted >>> 2] = 0;
    return emissions;
  }

  /**
   * Between two packets: slots that are neither free nor held by an instance, and packets that were emitted without being held.
   * 0: none is lost, none is double.
   */
  missing(contexts: readonly number[]): number {
    const { m, plan } = this;
    const held = contexts.reduce((sum, context) => sum + m.u32[(context + CONTEXT.HELD) >>> 2], 0);
    return Math.abs(plan.slots - batchCount(m, plan.free) - held) + this.strays;
  }

  /** An instance has nothing in hand any more, whatever it thinks. @param first descriptors that stay off the free list */
  forget(context: number, first: number): void {
    const { m } = this;
    const { emitted, holders, free, slots, descriptors } = this.plan;
    m.u32[(context + CONTEXT.HELD) >>> 2] = 0;
    m.u32[emitted >>> 2] = 0;
    m.u32.fill(0, holders >>> 2, (holders >>> 2) + slots);
    m.u32[free >>> 2] = 0;
    for (let i = slots - 1; i >= first; i--) batchPush(m, free, descriptors + i * DESCRIPTOR.SIZE);
  }

  private holderOf(descriptor: number): number {
    return (this.plan.holders >>> 2) + (descriptor - this.plan.descriptors) / DESCRIPTOR.SIZE;
  }
}
