/** `pktflow reload [NAME]`: a running pipeline reads its file again and takes over what it may. */
import type { Command } from "commander";
import { EXIT } from "../exit.ts";
import { nameArgument, type Target } from "../running.ts";

/** A filter that is new is compiled, and lists may be long. ms */
const LIMIT = 120_000;

const HELP = `
The running process reads the file itself, as it did at its start: from its own
directory, with its own environment and --set options. What differs in filters'
parameters is taken over while packets flow; all else wants a restart.

Exit status: 0 when the pipeline is as the file says, and what has changed is
printed; 2 when the file is wrong, or what changed in it wants a restart: the
running pipeline is as it was then.
`;

export function registerReload(program: Command): void {
  nameArgument(program.command("reload"), HELP)
    .description("have a running pipeline read its file again and take over what has changed")
    .action(async (name: string | undefined) => {
      const { findTarget } = await import("../running.ts");
      process.exitCode = await reload(await findTarget("reload", name));
    });
}

async function reload({ connection, title }: Target): Promise<number> {
  const { ControlError } = await import("../../control/protocol.ts");
  const { changedText } = await import("../control.ts");
  try {
    const { changed, waiting, trapped, warnings } = await connection.ask("reload", LIMIT);
    const lateWarnings = [...waiting.map(waitingText), ...trapped.map(trappedText)];
    for (const warning of [...warnings, ...lateWarnings]) process.stderr.write(`${warning}\n`);
    const lines = changed.length === 0 ? ["nothing has changed"] : changedText(changed);
    process.stdout.write(`${lines.join("\n")}\n`);
    return trapped.length > 0 ? EXIT.FAILED : EXIT.OK;
  } catch (error) {
    const refusal = error instanceof ControlError ? error.refusal : undefined;
    if (refusal === undefined || (refusal.code !== "invalid-file" && refusal.code !== "not-reloadable")) {
      throw new Error(`reload: ${title}: ${(error as Error).message}`, { cause: error });
    }
    const reasons = refusal.reasons ?? [];
    const text = refusal.code === "invalid-file" ? refusal.message : reasonsText(title, reasons);
    process.stderr.write(`${text}\n`);
    return EXIT.USAGE;
  } finally {
    connection.close();
  }
}

function waitingText(worker: number): string {
  return `pktflow: warning: worker ${worker} is still at work on what was there before, and goes over to it later`;
}

function trappedText(filter: string): string {
  return `pktflow: warning: filter "${filter}" trapped as it went over: pktflow stats says why, and what becomes of its packets`;
}

function reasonsText(title: string, reasons: string[]): string {
  const these = reasons.length === 1 ? "this change wants" : "these changes want";
  const lines = reasons.map((reason) => `  ${reason}`);
  return [`pktflow: reload: ${these} a restart, and ${title} is as it was:`, ...lines].join("\n");
}
