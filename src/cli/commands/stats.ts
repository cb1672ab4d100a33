/** `pktflow stats [NAME]`: the report of a running pipeline. */
import type { Command } from "commander";
import { nameArgument } from "../running.ts";

/** A report is read from memory and takes no time; the machine may have none. ms */
export const STATS_LIMIT = 10_000;

export function registerStats(program: Command): void {
  nameArgument(program.command("stats"))
    .description("the report of a running pipeline: the same tables as at the end of a run, or JSON")
    .option("--json", "print it as JSON, as run --report does")
    .action(async (name: string | undefined, options: { json?: boolean }) => {
      await stats(name, options);
    });
}

async function stats(name: string | undefined, options: { json?: boolean }): Promise<void> {
  const { findTarget } = await import("../running.ts");
  const { summary } = await import("../summary.ts");
  const { connection } = await findTarget("stats", name);
  try {
    const report = await connection.ask("stats", STATS_LIMIT);
    const text = options.json === true ? JSON.stringify(report, null, 2) : summary(report, true);
    process.stdout.write(`${text}\n`);
  } finally {
    connection.close();
  }
}
