/**
 * Probes: what one host of a lab sends another to see whether it comes through. They run on the sending host's thread;
 * this is what they and the main thread say to each other, all of it plain data.
 */

export const PROTOCOLS = ["icmp", "udp", "tcp"] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** All at once each: what one firewall lets by, another one does not. */
export const UDP_PORTS: readonly number[] = [53, 443, 8080, 9];
export const TCP_PORTS: readonly number[] = [443, 8080, 80, 22];
export const ECHOES = 3;
/** What a TCP probe sends, and wants back, bytes. */
export const TCP_BYTES = 256 * 1024;

/** Nothing comes back for so long: it is not going to. ms */
export const SILENCE = 2000;
/** A connection stands, but not all data came back. ms */
export const STALL = 6000;

export interface ProbeTask {
  protocol: Protocol;
  /** Addresses of the two hosts, of one family. */
  from: string;
  to: string;
}

/** What became of one packet, datagram or connection. */
export interface Answer {
  /** "echo 1", "port 443" */
  what: string;
  /** corrupt: something else came back than was sent; refused: an ICMP error or a reset came back. */
  outcome: "answered" | "corrupt" | "refused" | "silent";
  /** Round trip; for TCP the time that all data took there and back. ms */
  ms?: number;
  /** errno's name of a refusal, or what is odd. */
  why?: string;
  /** What a UDP probe sent, in hex, so that the receiver can be asked for it. */
  sent?: string;
}

/** A probe under way. */
export interface Probe {
  /** Of everything that was sent, in its order. */
  readonly answers: Promise<Answer[]>;
  /** What has no answer yet counts as silent from now on. */
  giveUp(): void;
}

/** @param pending what has neither answer nor refusal yet @param busy data flows, so silence means nothing */
export type OnProgress = (pending: number, busy: boolean) => void;

/** Answers that come in one by one, in any order, until all are there or somebody gives up. */
export class Answers {
  readonly all: Promise<Answer[]>;
  private readonly answers: (Answer | undefined)[];
  private readonly names: string[];
  private readonly onProgress: OnProgress;
  private readonly resolve: (answers: Answer[]) => void;
  private readonly timer: NodeJS.Timeout;
  busy = false;
  ended = false;

  /** @param limit ms until the rest counts as silent */
  constructor(names: string[], limit: number, onProgress: OnProgress) {
    this.names = names;
    this.answers = names.map(() => undefined);
    this.onProgress = onProgress;
    const { promise, resolve } = withResolvers<Answer[]>();
    this.all = promise;
    this.resolve = resolve;
    this.timer = setTimeout(() => this.end(), limit);
  }

  /** The first answer to a packet counts. */
  set(index: number, answer: Omit<Answer, "what">): void {
    if (this.answers[index] !== undefined || this.ended) return;
    this.answers[index] = { what: this.names[index], ...answer };
    const pending = this.answers.filter((one) => one === undefined).length;
    if (pending === 0) this.end();
    else this.onProgress(pending, this.busy);
  }

  /** @returns -1: all are answered */
  get firstPending(): number {
    return this.answers.indexOf(undefined);
  }

  end(): void {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.timer);
    this.resolve(this.answers.map((one, i) => one ?? { what: this.names[i], outcome: "silent" }));
  }
}

/** Promise.withResolvers, which Node 20 does not have. */
function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
