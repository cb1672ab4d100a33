/** `pktflow top [NAME]`: the live table of a pipeline that runs elsewhere. */
import { type Command, Option } from "commander";
import { parseDuration } from "../options.ts";
import { nameArgument, type Target } from "../running.ts";
import { STATS_LIMIT } from "./stats.ts";

/** On a terminal rates are shown after this long, however long the interval. ms */
const FIRST_INTERVAL = 250;

const HELP = `
It ends with the pipeline, or by q or Ctrl-C, which the pipeline does not notice.
On no terminal it prints a line every interval.
`;

export function registerTop(program: Command): void {
  const interval = new Option("--interval <duration>", "how often it is drawn: 500ms, 5s")
    .argParser(parseDuration)
    .default(1e9, "1s");
  nameArgument(program.command("top"), HELP)
    .description("the live table of a running pipeline")
    .addOption(interval)
    .action(async (name: string | undefined, options: { interval: number }) => {
      const { findTarget } = await import("../running.ts");
      await top(await findTarget("top", name), options.interval / 1e6);
    });
}

async function top({ connection, title }: Target, interval: number): Promise<void> {
  const { ConnectionLost } = await import("../../control/client.ts");
  const { displayOn } = await import("../live.ts");
  const { after } = await import("./run.ts");
  const out = process.stdout;
  const display = displayOn(out);
  const leaving = untilLeft(process.stdin);
  let hasEnded = false;
  const over = Promise.race([leaving.left, connection.ended.then(() => (hasEnded = true))]).then(() => true);
  try {
    for (let wait = out.isTTY ? Math.min(FIRST_INTERVAL, interval) : interval; ; wait = interval) {
      display.show(await connection.ask("stats", STATS_LIMIT));
      let cancel = () => {};
      const passed = new Promise<boolean>((resolve) => {
        cancel = after(wait, () => resolve(false));
      });
      const isOver = await Promise.race([passed, over]);
      cancel();
      if (isOver) break;
    }
  } catch (error) {
    if (!(error instanceof ConnectionLost)) throw error;
    hasEnded = true;
  } finally {
    leaving.close();
    connection.close();
  }
  if (hasEnded) process.stderr.write(`${title} has ended\n`);
}

const LEAVING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const LEAVING_KEYS = Buffer.from("qQ\u0003\u0004");

/** q, Ctrl-C or a signal. */
function untilLeft(keys: NodeJS.ReadStream): { left: Promise<void>; close(): void } {
  let leave = () => {};
  const left = new Promise<void>((resolve) => {
    leave = resolve;
  });
  // A terminal that hands over every key sends Ctrl-C and Ctrl-D as such.
  const onKey = (typed: Buffer) => typed.some((key) => LEAVING_KEYS.includes(key)) && leave();
  const hasKeys = keys.isTTY && process.stdout.isTTY;
  if (hasKeys) keys.setRawMode(true).on("data", onKey);
  for (const signal of LEAVING) process.on(signal, leave);
  return {
    left,
    close() {
      for (const signal of LEAVING) process.off(signal, leave);
      if (hasKeys) keys.off("data", onKey).setRawMode(false).pause();
    },
  };
}
