/** From what came back of a probe, and what the pipeline counted meanwhile, to what became of it. Pure. */
import type { Answer } from "./probes/probe.ts";

/**
 * ok: answered; arrived: it got there, and no path leads back; refused: an ICMP error or a reset came back;
 * dropped: the pipeline counted it as a drop, or sent it another way; taken: a device that is no host took it; lost: nothing explains the
 * silence; corrupt: something else came back than was sent; no-path: no path leads there, or none back, so nothing was sent.
 */
export type State = "ok" | "arrived" | "refused" | "dropped" | "taken" | "lost" | "corrupt" | "no-path";

export interface Verdict {
  state: State;
  /** How many of `sent` were answered, or arrived. */
  answered: number;
  sent: number;
  /** The shortest round trip, or the time of the transfer. ms */
  ms?: number;
  /** The whole story in a line: "ports 53, 443 answered; ports 8080, 9 not: firewall drop 2". */
  detail: string;
}

/** Packets by where they went, since the probe began. */
export interface Whereabouts {
  /** "firewall drop", "lan would-block"; also what a filter sent another way by an output of its own: "firewall refuse" */
  drops: Record<string, number>;
  /** By device that is no host. */
  taken: Record<string, number>;
}

export function notSent(detail: string): Verdict {
  return { state: "no-path", answered: 0, sent: 0, detail };
}

/** What is silent must be accounted for packet by packet. @param layer of the sending host's device */
export function explains(silent: number, { drops, taken }: Whereabouts, layer: 2 | 3): boolean {
  // On Ethernet one address resolution stands for all that waits for it.
  return sum(drops) + sum(taken) >= (layer === 2 ? Math.min(silent, 1) : silent);
}

/** @param oneWay no path leads back: `answered` then says what the receiver has seen */
export function judge(answers: Answer[], where: Whereabouts, layer: 2 | 3, oneWay = false): Verdict {
  const by = (outcome: Answer["outcome"]) => answers.filter((answer) => answer.outcome === outcome);
  const [answered, corrupt, refused, silent] = [by("answered"), by("corrupt"), by("refused"), by("silent")];
  const explained = explains(silent.length, where, layer);
  const times = answered.flatMap(({ ms }) => ms ?? []);
  const state = ((): State => {
    if (corrupt.length > 0) return "corrupt";
    if (silent.length > 0 && !explained) return "lost";
    if (answered.length > 0) return oneWay ? "arrived" : "ok";
    if (refused.length > 0) return "refused";
    return sum(where.drops) === 0 && sum(where.taken) > 0 ? "taken" : "dropped";
  })();
  const good = oneWay ? "arrived" : "answered";
  const parts = [
    ...(answered.length > 0 ? [`${named(answered)} ${good}`] : []),
    ...corrupt.map(({ what, why }) => `${what} corrupt: ${why}`),
    ...(refused.length > 0 ? [`${named(refused)} refused: ${reasons(refused)}`] : []),
    ...(silent.length > 0 ? [`${named(silent)} not ${good}: ${silence(silent, where, explained)}`] : []),
  ];
  return {
    state,
    answered: answered.length,
    sent: answers.length,
    ...(times.length > 0 ? { ms: Math.min(...times) } : {}),
    detail: parts.join("; "),
  };
}

function silence(silent: Answer[], { drops, taken }: Whereabouts, explained: boolean): string {
  const reasons = [...new Set(silent.flatMap(({ why }) => why ?? []))];
  const went = [
    ...Object.entries(drops).map(([what, packets]) => `${what} ${packets}`),
    ...Object.entries(taken).map(([device, packets]) => `${packets} left by ${device}`),
  ].join(", ");
  if (explained) return [...reasons, went].join(", ");
  return [...reasons, went === "" ? "no drop was counted" : `only ${went}`].join(", ");
}

/** "port 53", "ports 53, 443", "echoes 1, 2, 3" */
function named(answers: Answer[]): string {
  const [noun] = answers[0].what.split(" ");
  const numbers = answers.map(({ what }) => what.split(" ")[1]).join(", ");
  return answers.length === 1 ? answers[0].what : `${noun}${noun.endsWith("o") ? "es" : "s"} ${numbers}`;
}

function reasons(refused: Answer[]): string {
  return [...new Set(refused.flatMap(({ why }) => why ?? []))].join(", ");
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((a, b) => a + b, 0);
}
