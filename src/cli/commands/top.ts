/** `pktflow top [NAME]`: the live table of a pipeline that runs elsewhere. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { parseDuration } from "../options.ts";
import { confirmEnd, nameArgument, type Target } from "../running.ts";
import { STATS_LIMIT } from "./stats.ts";

/** On a terminal rates are shown after this long, however long the interval. ms */
const FIRST_INTERVAL = 250;

/** ns */
const LEAST_INTERVAL = 10e6;

const HELP = `
It ends with the pipeline, or by q or Ctrl-C, which the pipeline does not
notice. On no terminal it prints a line every interval.
`;

export function registerTop(program: Command): void {
  const interval = new Option("--interval <duration>", "how often it is drawn: 500ms, 5s")
    .argParser(parseInterval)
    .default(1e9, "1s");
  nameArgument(program.command("top"), HELP)
    .description("the live table of a running pipeline")
    .addOption(interval)
    .action(async (name: string | undefined, options: { interval: number }) => {
      const { findTarget } = await import("../running.ts");
      await top(await findTarget("top", name), options.interval / 1e6);
    });
}

async function top(target: Target, interval: number): Promise<void> {
  const { connection, title } = target;
  const { ConnectionLost } = await import("../../control/client.ts");
  const { displayOn } = await import("../live.ts");
  const { after } = await import("./run.ts");
  const out = process.stdout;
  const display = displayOn(out);
  let hasLeft = false;
  let isOver = false;
  /** Ends a wait. */
  let wake = () => {};
  // Also while it is asked: one that is stopped would not answer.
  const stopListening = onLeaving(process.stdin, () => {
    hasLeft = true;
    connection.close();
  });
  connection.ended.then(() => {
    isOver = true;
    wake();
  });
  try {
    for (let wait = out.isTTY ? Math.min(FIRST_INTERVAL, interval) : interval; !isOver; wait = interval) {
      display.show(await connection.ask("stats", STATS_LIMIT));
      if (isOver) break;
      await new Promise<void>((resolve) => {
        const cancel = after(wait, resolve);
        wake = () => {
          cancel();
          resolve();
        };
      });
    }
  } catch (error) {
    if (!(error instanceof ConnectionLost)) throw error;
  } finally {
    stopListening();
    connection.close();
  }
  if (hasLeft) return;
  await confirmEnd("top", target);
  process.stderr.write(`${title} has ended\n`);
}

const LEAVING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const LEAVING_KEYS = Buffer.from("qQ\u0003\u0004");

/** Calls `leave` at q, Ctrl-C or a signal. @returns what ends that, and gives the terminal back */
function onLeaving(keys: NodeJS.ReadStream, leave: () => void): () => void {
  // A terminal that hands over every key sends Ctrl-C and Ctrl-D as such.
  const onKey = (typed: Buffer) => typed.some((key) => LEAVING_KEYS.includes(key)) && leave();
  const hasKeys = keys.isTTY && process.stdout.isTTY;
  if (hasKeys) keys.setRawMode(true).on("data", onKey);
  for (const signal of LEAVING) process.on(signal, leave);
  return () => {
    for (const signal of LEAVING) process.off(signal, leave);
    if (hasKeys) keys.off("data", onKey).setRawMode(false).pause();
  };
}

/** @returns ns */
function parseInterval(text: string): number {
  const interval = parseDuration(text);
  if (interval < LEAST_INTERVAL) throw new InvalidArgumentError("at least 10ms, or nobody can read it.");
  return interval;
}
