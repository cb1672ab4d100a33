/**
 * Source NAT by the words of RFC 4787, slow and obvious: lists and a clock. It cannot know which port is chosen where
 * several are allowed, so it is told, and says whether that was allowed.
 */
export type Kind = "tcp" | "udp" | "icmp";
/** What of a remote endpoint is told apart (RFC 4787, 4.1 and 5). */
export type Dependence = "endpoint-independent" | "address-dependent" | "address-and-port-dependent";

export interface Endpoint {
  address: string;
  port: number;
}

interface Mapping {
  inside: Endpoint;
  outside: Endpoint;
  kind: Kind;
  /** Whom it is for, as far as the mapping behaviour tells that apart. */
  remote: string;
  /** When something was last sent to a remote end, as far as filtering or mapping tells that apart. */
  sessions: Map<string, { remote: Endpoint; lastUse: number }>;
}

export interface NatRules {
  ports: [number, number];
  outside: string[];
  filtering: Dependence;
  mapping: Dependence;
  /** Seconds. */
  timeout: Record<Kind, number>;
}

const key = (kind: Kind, { address, port }: Endpoint) => `${kind} ${address} ${port}`;

/** The part of a remote endpoint that counts; a query's has no port. */
function part(dependence: Dependence, kind: Kind, { address, port }: Endpoint): string {
  if (dependence === "endpoint-independent") return "";
  return dependence === "address-dependent" || kind === "icmp" ? address : `${address} ${port}`;
}

export class ReferenceNat {
  readonly rules: NatRules;
  private mappings: Mapping[] = [];
  /** RFC 4787 REQ-2: the outside address of each inside address. */
  private readonly pairs = new Map<string, string>();
  made = 0;
  sessionsMade = 0;

  constructor(rules: NatRules) {
    this.rules = rules;
  }

  /** Forgets what timed out by `now` seconds: sessions, and mappings with their last one. */
  expire(now: number): void {
    for (const { kind, sessions } of this.mappings) {
      for (const [name, { lastUse }] of sessions) {
        if (now - lastUse > this.rules.timeout[kind]) sessions.delete(name);
      }
    }
    this.mappings = this.mappings.filter(({ sessions }) => sessions.size > 0);
  }

  /**
   * A packet left from inside with the source `outside`, or was dropped (undefined).
   * @returns what is wrong with that, or undefined
   */
  sent(
    kind: Kind,
    inside: Endpoint,
    remote: Endpoint,
    outside: Endpoint | undefined,
    now: number,
  ): string | undefined {
    const { filtering, mapping: dependence } = this.rules;
    const whom = part(dependence, kind, remote);
    const known = this.mappings.find(
      (one) => key(one.kind, one.inside) === key(kind, inside) && one.remote === whom,
    );
    // A packet to someone new makes a session, whichever of the two behaviours tells the two apart.
    const session = `${part(filtering, kind, remote)}, ${whom}`;
    if (known) {
      if (!known.sessions.has(session)) this.sessionsMade++;
      known.sessions.set(session, { remote, lastUse: now });
      const same = outside && key(kind, outside) === key(kind, known.outside);
      return same ? undefined : `the mapping is to ${key(kind, known.outside)}`;
    }
    const wrong = this.allocation(kind, inside, outside);
    if (wrong !== undefined || outside === undefined) return wrong;
    const sessions = new Map([[session, { remote, lastUse: now }]]);
    this.mappings.push({ inside, outside, kind, remote: whom, sessions });
    this.pairs.set(inside.address, outside.address);
    this.made++;
    this.sessionsMade++;
    return undefined;
  }

  /** Might a new mapping have this outside endpoint, or none? */
  private allocation(kind: Kind, inside: Endpoint, outside: Endpoint | undefined): string | undefined {
    const [first, last] = this.rules.ports;
    const pair = this.pairs.get(inside.address);
    const addresses = pair ? [pair] : this.rules.outside;
    const taken = new Set(this.mappings.map((mapping) => key(mapping.kind, mapping.outside)));
    const free = (address: string, port: number) => !taken.has(key(kind, { address, port }));
    const anyFree = (address: string, allowed: (port: number) => boolean) => {
      for (let port = first; port <= last; port++) if (allowed(port) && free(address, port)) return true;
      return false;
    };
    if (outside === undefined) {
      const left = addresses.filter((address) => anyFree(address, () => true));
      // Which address it would have been is not known as long as it has no pair.
      return left.length === addresses.length ? "there are free ports" : undefined;
    }
    if (!addresses.includes(outside.address)) return `the address is not ${addresses}`;
    if (!free(outside.address, outside.port)) return "the port is taken";
    if (outside.port < first || outside.port > last) return "the port is out of range";
    const wanted = inside.port >= first && inside.port <= last && free(outside.address, inside.port);
    if (wanted && outside.port !== inside.port) return "the port could have been preserved";
    const sameSide = (port: number) => port < 1024 === inside.port < 1024;
    if (!sameSide(outside.port) && anyFree(outside.address, sameSide)) {
      return "it could have stayed on its side of 1024";
    }
    const sameParity = (port: number) => (port & 1) === (inside.port & 1);
    const asGood = (port: number) => sameParity(port) && sameSide(port) === sameSide(outside.port);
    if (!sameParity(outside.port) && anyFree(outside.address, asGood)) {
      return "the parity could have been kept";
    }
    return undefined;
  }

  /** What becomes of a packet to an outside endpoint: the inside endpoint that gets it, or why it is dropped. */
  received(kind: Kind, outside: Endpoint, remote: Endpoint): Endpoint | "filtered" | "no-mapping" {
    const mapping = this.mappings.find((one) => key(one.kind, one.outside) === key(kind, outside));
    if (!mapping) return "no-mapping";
    const { filtering } = this.rules;
    const asked = [...mapping.sessions.values()].some(
      (session) => part(filtering, kind, session.remote) === part(filtering, kind, remote),
    );
    return asked ? mapping.inside : "filtered";
  }

  get live(): { kind: Kind; inside: Endpoint; outside: Endpoint }[] {
    return this.mappings;
  }
}
