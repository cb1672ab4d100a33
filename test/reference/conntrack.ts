/**
 * Connection tracking as it is said in prose, over plain objects: a list of connections, looked through one by one. Windows
 * are not part of it: the packets of its test stay within them.
 */

export interface Endpoint {
  address: string;
  port: number;
}
export interface TrackedPacket {
  protocol: "udp" | "tcp" | "icmp" | "gre";
  from: Endpoint;
  to: Endpoint;
  /** Of TCP: of syn, ack, fin, rst. */
  flags?: string[];
  /** Of ICMP: does it ask, or answer. `port` of both endpoints is the identifier. */
  asks?: boolean;
}
export type Verdict = "new" | "established" | "invalid";

interface Connection {
  protocol: string;
  from: Endpoint;
  to: Endpoint;
  state: string;
  replied: boolean;
  /** Something is known of what the other side sends: a segment of it that was neither a challenge nor a reset. */
  answered: boolean;
  opened: number;
  last: number;
}

/** Seconds. */
const TIMEOUTS: Record<string, number> = {
  udp: 30,
  stream: 120,
  icmp: 30,
  gre: 600,
  "syn-sent": 120,
  "syn-sent-both": 120,
  "syn-received": 60,
  established: 432_000,
  "fin-wait": 120,
  "close-wait": 60,
  "last-ack": 30,
  "time-wait": 120,
  closed: 10,
};

export class Conntrack {
  private connections: Connection[] = [];

  /** @param now seconds @param accepts do the rules let a new packet pass */
  track(packet: TrackedPacket, now: number, accepts: boolean): Verdict {
    this.connections = this.connections.filter(({ state, last }) => now - last <= TIMEOUTS[state]);
    const found = this.find(packet);
    if (!found) return this.begin(packet, now, accepts);
    const [connection, isReply] = found;
    if (packet.protocol === "tcp") return this.segment(connection, isReply, packet, now, accepts);
    if (isReply) connection.replied = true;
    else if (!connection.replied) {
      connection.last = now;
      return "new";
    }
    if (packet.protocol === "udp" && now - connection.opened >= 2) connection.state = "stream";
    connection.last = now;
    return "established";
  }

  private find({ protocol, from, to, asks }: TrackedPacket): [Connection, boolean] | undefined {
    for (const one of this.connections) {
      if (one.protocol !== protocol) continue;
      if (asks !== false && same(one.from, from) && same(one.to, to)) return [one, false];
      if (asks !== true && same(one.from, to) && same(one.to, from)) return [one, true];
    }
    return undefined;
  }

  private begin(packet: TrackedPacket, now: number, accepts: boolean): Verdict {
    const { protocol, from, to, asks, flags = [] } = packet;
    let state: string = protocol;
    if (protocol === "icmp" && asks === false) return "invalid";
    if (protocol === "tcp") {
      const which = [...flags].sort().join();
      if (which === "syn") state = "syn-sent";
      else if (which === "ack") state = "established";
      else return "invalid";
    }
    if (accepts)
      this.connections.push({
        protocol,
        from,
        to,
        state,
        replied: false,
        // Joined in the middle, nothing is held against what it acknowledges.
        answered: state === "established",
        opened: now,
        last: now,
      });
    return "new";
  }

  private segment(
    connection: Connection,
    isReply: boolean,
    packet: TrackedPacket,
    now: number,
    accepts: boolean,
  ): Verdict {
    const flags = packet.flags ?? [];
    const has = (flag: string) => flags.includes(flag);
    const before = connection.state;
    const verdict = connection.replied || isReply ? "established" : "new";
    const opening = before === "syn-sent" || before === "syn-sent-both";
    const goOn = (state: string): Verdict => {
      connection.state = state;
      connection.last = now;
      if (isReply) connection.replied = true;
      if (!has("rst") && (isReply || state === "established")) connection.answered = true;
      return verdict;
    };
    // What refuses a SYN acknowledges it (RFC 9293, 3.5.2); who sent it has nothing to acknowledge.
    if (has("rst") && before === "syn-sent" && isReply !== has("ack")) return "invalid";
    // It acknowledges what nobody has sent.
    if (has("rst") && has("ack") && !isReply && !connection.answered) return "invalid";
    if (has("rst") && !connection.replied) {
      // All that ever came of it.
      this.connections = this.connections.filter((one) => one !== connection);
      return verdict;
    }
    if (has("rst")) return goOn("closed");
    if (has("syn") && has("ack")) {
      if (before === "syn-sent-both" || (isReply && opening)) return goOn("syn-received");
      return isReply || before === "syn-received" ? goOn(before) : "invalid";
    }
    if (has("syn")) {
      const isOver = before === "time-wait" || (before === "closed" && !isReply);
      if (isOver) {
        this.connections = this.connections.filter((one) => one !== connection);
        return this.begin(packet, now, accepts);
      }
      if (!isReply) return goOn(before);
      return opening ? goOn("syn-sent-both") : "invalid";
    }
    if (has("fin")) {
      if (opening) return "invalid";
      if (before === "syn-received" || before === "established") return goOn("fin-wait");
      return goOn(before === "time-wait" || before === "closed" ? before : "last-ack");
    }
    if (opening && isReply) {
      // A challenge shows nothing of this connection.
      connection.replied = true;
      if (before === "syn-sent") return "established";
      return goOn(before);
    }
    if (opening) return before === "syn-sent" && !connection.replied ? goOn("established") : "invalid";
    const next: Record<string, string> = { "fin-wait": "close-wait", "last-ack": "time-wait" };
    if (before === "syn-received" && !isReply) return goOn("established");
    return goOn(next[before] ?? before);
  }
}

function same(a: Endpoint, b: Endpoint): boolean {
  return a.address === b.address && a.port === b.port;
}
