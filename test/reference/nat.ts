/**
 * Source NAT by the words of RFC 4787, slow and obvious: two maps and a clock. It cannot know which port is chosen where
 * several are allowed, so it is told, and says whether that was allowed.
 */
export type Kind = "tcp" | "udp" | "icmp";

export interface Endpoint {
  address: string;
  port: number;
}

interface Mapping {
  inside: Endpoint;
  outside: Endpoint;
  kind: Kind;
  lastUse: number;
}

export interface NatRules {
  ports: [number, number];
  outside: string[];
  /** Seconds. */
  timeout: Record<Kind, number>;
}

const key = (kind: Kind, { address, port }: Endpoint) => `${kind} ${address} ${port}`;

export class ReferenceNat {
  readonly rules: NatRules;
  private readonly byInside = new Map<string, Mapping>();
  private readonly byOutside = new Map<string, Mapping>();
  /** RFC 4787 REQ-2: the outside address of each inside address. */
  private readonly pairs = new Map<string, string>();
  made = 0;

  constructor(rules: NatRules) {
    this.rules = rules;
  }

  /** Forgets what timed out by `now` seconds. */
  expire(now: number): void {
    for (const [name, mapping] of this.byInside) {
      if (now - mapping.lastUse <= this.rules.timeout[mapping.kind]) continue;
      this.byInside.delete(name);
      this.byOutside.delete(key(mapping.kind, mapping.outside));
    }
  }

  /**
   * A packet left from inside with the source `outside`, or was dropped (undefined).
   * @returns what is wrong with that, or undefined
   */
  sent(kind: Kind, inside: Endpoint, outside: Endpoint | undefined, now: number): string | undefined {
    const mapping = this.byInside.get(key(kind, inside));
    if (mapping) {
      mapping.lastUse = now;
      const same = outside && key(kind, outside) === key(kind, mapping.outside);
      return same ? undefined : `the mapping is to ${key(kind, mapping.outside)}`;
    }
    const [first, last] = this.rules.ports;
    const pair = this.pairs.get(inside.address);
    const addresses = pair ? [pair] : this.rules.outside;
    const free = (address: string, port: number) => !this.byOutside.has(key(kind, { address, port }));
    if (outside === undefined) {
      const left = addresses.filter((address) => {
        for (let port = first; port <= last; port++) if (free(address, port)) return true;
        return false;
      });
      // Which address it would have been is not known as long as it has no pair.
      return left.length === addresses.length ? "there are free ports" : undefined;
    }
    if (!addresses.includes(outside.address)) return `the address is not ${addresses}`;
    if (!free(outside.address, outside.port)) return "the port is taken";
    if (outside.port < first || outside.port > last) return "the port is out of range";
    const wanted = inside.port >= first && inside.port <= last && free(outside.address, inside.port);
    if (wanted && outside.port !== inside.port) return "the port could have been preserved";
    if ((outside.port & 1) !== (inside.port & 1)) {
      for (let port = first; port <= last; port++) {
        if ((port & 1) === (inside.port & 1) && free(outside.address, port))
          return "the parity could have been kept";
      }
    }
    const made = { inside, outside, kind, lastUse: now };
    this.byInside.set(key(kind, inside), made);
    this.byOutside.set(key(kind, outside), made);
    this.pairs.set(inside.address, outside.address);
    this.made++;
    return undefined;
  }

  /** The inside endpoint to which a packet goes, or undefined: it is dropped. */
  received(kind: Kind, outside: Endpoint): Endpoint | undefined {
    return this.byOutside.get(key(kind, outside))?.inside;
  }

  get live(): { kind: Kind; inside: Endpoint; outside: Endpoint }[] {
    return [...this.byInside.values()];
  }
}
