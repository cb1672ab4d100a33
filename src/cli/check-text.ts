/** A lab's self-check as people read it: who probed whom, what came of it, and why where it is not plain. */
import colors from "picocolors";
import type { Lab } from "../lab/lab.ts";
import { PROTOCOLS, type Protocol } from "../lab/probes/probe.ts";
import { isAlone, type Pair, type PairResult } from "../lab/selfcheck.ts";
import type { State, Verdict } from "../lab/verdict.ts";
import { table } from "./format.ts";

const PAINT: Record<State, (text: string) => string> = {
  ok: colors.green,
  arrived: colors.green,
  taken: colors.green,
  refused: colors.yellow,
  dropped: colors.yellow,
  lost: colors.red,
  corrupt: colors.red,
  "no-path": colors.dim,
};

/** The hosts and their addresses. */
export function hostTable({ hosts, pipeline, running }: Lab): string {
  const rows = hosts.map(({ device, layer, addresses }) => [
    device,
    layer === 2 ? "tap" : "tun",
    String(running.plan.devices.find(({ id }) => id === device)?.queues ?? 0),
    addresses.map(({ address, length }) => `${address}/${length}`).join(" ") || "none",
  ]);
  return `${colors.bold(pipeline.name)}: self-check\n\n${table(["host", "kind", "queues", "address"], rows, 4)}`;
}

/** A row a pair of hosts and family; below, what a cell has no room for. */
export function checkText(results: PairResult[]): string {
  const rows = results.map((result) => [
    result.from.device,
    destination(result),
    `IPv${result.family}`,
    ...PROTOCOLS.map((protocol) => cell(result.verdicts[protocol])),
  ]);
  const lines = results.flatMap((result) =>
    PROTOCOLS.filter((protocol) => isNoteworthy(result.verdicts[protocol])).map((protocol) =>
      note(result, protocol),
    ),
  );
  return [table(["from", "to", "family", ...PROTOCOLS], rows, 6), lines.join("\n")]
    .filter((part) => part !== "")
    .join("\n\n");
}

function destination({ to, target }: Pair): string {
  return to?.device ?? `${target} (nobody)`;
}

function cell(verdict: Verdict): string {
  const { state, answered, sent, ms } = verdict;
  const paint = PAINT[state];
  if (state === "no-path") return paint(verdict.detail);
  const share = answered < sent ? ` ${answered} of ${sent}` : "";
  const time = ms === undefined ? "" : ` ${milliseconds(ms)}`;
  if (state === "ok" || state === "arrived") return paint(`${state}${share}${time}`);
  return paint(state === "lost" || state === "corrupt" ? state.toUpperCase() : state);
}

function milliseconds(ms: number): string {
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`;
}

/** Is there more to say than the cell does? */
function isNoteworthy({ state, answered, sent }: Verdict): boolean {
  return state !== "no-path" && (answered < sent || state === "corrupt");
}

function note(result: PairResult, protocol: Protocol): string {
  const verdict = result.verdicts[protocol];
  const family = result.family === 6 ? " IPv6" : "";
  return `${result.from.device} -> ${destination(result)}${family} ${protocol}: ${verdict.detail}`;
}

/**
 * "self-check passed: 4 of 6 probes got through, 2 stopped by the pipeline and accounted for"
 * @param file the pipeline's, for the command that is proposed where there is nobody to probe
 */
export function verdictLine(results: PairResult[], passed: boolean, file: string): string {
  const states = results.flatMap(({ verdicts }) => PROTOCOLS.map((protocol) => verdicts[protocol].state));
  const count = (...wanted: State[]) => states.filter((state) => wanted.includes(state)).length;
  if (!passed) return colors.red("self-check failed");
  if (isAlone(results)) {
    const { device } = results[0].from;
    return (
      `${colors.green("self-check passed")}: ${device} is the only host that sends, so there was nobody to answer it; ` +
      `all that it sent is accounted for\nto try what the pipeline does, run a COMMAND on ${device}: ` +
      `pktflow lab ${file} -- ping -c 3 ADDRESS`
    );
  }
  const sent = states.length - count("no-path");
  const stopped = count("dropped", "refused");
  const rest = stopped === 0 ? "" : `, ${stopped} stopped by the pipeline and accounted for`;
  return colors.green(
    `self-check passed: ${count("ok", "arrived", "taken")} of ${sent} probes got through${rest}`,
  );
}

export interface ProgressLine {
  show: (pair: Pair, protocol: Protocol) => void;
  /** Says what is under way, in any words. */
  note(text: string): void;
  erase: () => void;
}

/** A line that says what is under way, on a terminal only. */
export function progressLine(out: NodeJS.WriteStream): ProgressLine {
  let shown = false;
  const erase = () => {
    if (shown) out.write("\r\x1b[K");
    shown = false;
  };
  const note = (text: string) => {
    if (!out.isTTY) return;
    erase();
    shown = true;
    out.write(colors.dim(`${text} …`.slice(0, (out.columns ?? 80) - 1)));
  };
  return {
    show: (pair, protocol) =>
      note(`${pair.from.device} -> ${destination(pair)} IPv${pair.family} ${protocol}`),
    note,
    erase,
  };
}
