/**
 * FQ-CoDel (RFC 8290, 4 and 5) behind a line of so many bits a second, as the RFCs' text has it: one event after the other,
 * with lists that are searched. Flows are told apart by their number.
 */
export interface Waiting {
  id: number;
  flow: number;
  bytes: number;
  since: number;
  ecn: boolean;
}
export interface ShapeOptions {
  /** Bits a second. */
  rate: number;
  /** ns of the line that may be used at once after a pause. */
  slack: number;
  limit: number;
  /** Bytes. */
  memoryLimit: number;
  dropBatch: number;
  target: number;
  interval: number;
  quantum: number;
  mtu: number;
}
export interface Event {
  id: number;
  at: number;
  what: "sent" | "dropped" | "marked";
}

interface Flow {
  number: number;
  packets: Waiting[];
  deficit: number;
  count: number;
  lastCount: number;
  firstAbove: number;
  dropNext: number;
  dropping: boolean;
}

export class ReferenceShaper {
  readonly events: Event[] = [];
  private readonly flows = new Map<number, Flow>();
  private newFlows: Flow[] = [];
  private oldFlows: Flow[] = [];
  private line = 0;
  private readonly o: ShapeOptions;

  constructor(options: ShapeOptions) {
    this.o = options;
  }

  private get all(): Waiting[] {
    return [...this.flows.values()].flatMap(({ packets }) => packets);
  }

  /** Packets that arrive together; then what may leave does. */
  arrive(packets: Omit<Waiting, "since">[], now: number): void {
    if (this.all.length === 0 && this.line <= now) this.next(now);
    for (const packet of packets) this.enqueue({ ...packet, since: now }, now);
    this.send(now);
  }

  /** When something leaves next; Infinity: nothing waits. */
  get due(): number {
    return this.all.length === 0 ? Number.POSITIVE_INFINITY : this.line;
  }

  send(now: number): void {
    if (this.all.length === 0) return;
    this.line = Math.max(this.line, now - this.o.slack);
    while (this.line <= now) {
      const packet = this.next(now);
      if (packet === undefined) break;
      this.events.push({ id: packet.id, at: now, what: "sent" });
      this.line += Math.floor((packet.bytes * 8e9) / this.o.rate);
    }
  }

  private enqueue(packet: Waiting, now: number): void {
    if (this.all.length >= this.o.limit) this.dropFattest(now);
    this.put(packet);
    const bytes = this.all.reduce((total, one) => total + one.bytes, 0);
    if (bytes > this.o.memoryLimit) this.dropFattest(now);
  }

  private dropFattest(now: number): void {
    const sum = (flow: Flow) => flow.packets.reduce((total, { bytes }) => total + bytes, 0);
    const most = Math.max(...[...this.flows.values()].map(sum));
    const fattest = [...this.flows.values()].filter((flow) => sum(flow) === most);
    if (fattest.length > 1) throw new Tie();
    const enough = Math.max(1, most >> 1);
    for (
      let dropped = 0, n = 0;
      dropped < enough && n < this.o.dropBatch && fattest[0].packets.length > 0;
      n++
    ) {
      const victim = fattest[0].packets.shift()!;
      dropped += victim.bytes;
      fattest[0].count++;
      this.events.push({ id: victim.id, at: now, what: "dropped" });
    }
  }

  private put(packet: Waiting): void {
    let flow = this.flows.get(packet.flow);
    if (flow === undefined) {
      flow = {
        number: packet.flow,
        packets: [],
        deficit: 0,
        count: 0,
        lastCount: 0,
        firstAbove: 0,
        dropNext: 0,
        dropping: false,
      };
      this.flows.set(packet.flow, flow);
    }
    flow.packets.push(packet);
    if (this.newFlows.includes(flow) || this.oldFlows.includes(flow)) return;
    flow.deficit = this.o.quantum;
    this.newFlows.push(flow);
  }

  private next(now: number): Waiting | undefined {
    for (;;) {
      const fromNew = this.newFlows.length > 0;
      const row = fromNew ? this.newFlows : this.oldFlows;
      const flow = row[0];
      if (flow === undefined) return undefined;
      if (flow.deficit <= 0) {
        flow.deficit += this.o.quantum;
        row.shift();
        this.oldFlows.push(flow);
        continue;
      }
      const packet = this.codel(flow, now);
      if (packet !== undefined) {
        flow.deficit -= packet.bytes;
        return packet;
      }
      row.shift();
      if (fromNew && this.oldFlows.length > 0) this.oldFlows.push(flow);
    }
  }

  private take(flow: Flow, now: number): { packet: Waiting | undefined; over: boolean } {
    const packet = flow.packets.shift();
    if (packet === undefined) {
      flow.firstAbove = 0;
      return { packet, over: false };
    }
    const backlog = this.all.reduce((total, { bytes }) => total + bytes, 0);
    if (now - packet.since < this.o.target || backlog <= this.o.mtu) flow.firstAbove = 0;
    else if (flow.firstAbove === 0) flow.firstAbove = now + this.o.interval;
    else return { packet, over: now > flow.firstAbove };
    return { packet, over: false };
  }

  private law(flow: Flow, time: number): number {
    return time + Math.floor(this.o.interval / Math.sqrt(flow.count));
  }

  private drop(packet: Waiting, now: number): boolean {
    this.events.push({ id: packet.id, at: now, what: packet.ecn ? "marked" : "dropped" });
    return !packet.ecn;
  }

  private codel(flow: Flow, now: number): Waiting | undefined {
    let { packet, over } = this.take(flow, now);
    if (packet === undefined) {
      flow.dropping = false;
      return undefined;
    }
    if (flow.dropping) {
      if (!over) flow.dropping = false;
      while (flow.dropping && now >= flow.dropNext) {
        flow.count++;
        if (!this.drop(packet!, now)) {
          flow.dropNext = this.law(flow, flow.dropNext);
          return packet;
        }
        ({ packet, over } = this.take(flow, now));
        if (over) flow.dropNext = this.law(flow, flow.dropNext);
        else flow.dropping = false;
      }
    } else if (over) {
      if (this.drop(packet, now)) ({ packet } = this.take(flow, now));
      flow.dropping = true;
      const delta = flow.count - flow.lastCount;
      flow.count = delta > 1 && now - flow.dropNext < 16 * this.o.interval ? delta : 1;
      flow.lastCount = flow.count;
      flow.dropNext = this.law(flow, now);
    }
    return packet;
  }
}

/** Two queues are the longest: which one loses is nobody's promise. */
export class Tie extends Error {}
