/** `pktflow stop [NAME]`: asks a running pipeline to end, and waits until it has. */
import type { Command } from "commander";
import { confirmEnd, nameArgument, type Target } from "../running.ts";

/** A pipeline ends within 2 s or is ended by force; a lab gives its command 5 s before that. Twice as much. ms */
const LIMIT = 15_000;

const HELP = `
It ends as by SIGTERM: what is under way leaves, then the devices are closed. A
lab passes it on to its command.
Exit status: 0 when it has ended; 1 when it has not within ${LIMIT / 1000} s.
`;

export function registerStop(program: Command): void {
  nameArgument(program.command("stop"), HELP)
    .description("ask a running pipeline to end, and wait until it has")
    .action(async (name: string | undefined) => {
      const { findTarget } = await import("../running.ts");
      await stop(await findTarget("stop", name));
    });
}

async function stop(target: Target): Promise<void> {
  const { about, connection, title } = target;
  const { ConnectionLost } = await import("../../control/client.ts");
  let timer: NodeJS.Timeout | undefined;
  const isLate = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(true), LIMIT);
  });
  try {
    await connection.ask("stop", LIMIT).catch((error: unknown) => {
      // It ended before it could say that it would.
      if (!(error instanceof ConnectionLost)) throw error;
    });
    if (await Promise.race([isLate, connection.ended.then(() => false)])) {
      throw new Error(
        `stop: ${title} has been asked to end, and has not within ${LIMIT / 1000} s: kill -9 ${about.pid} ends it`,
      );
    }
    await confirmEnd("stop", target);
    process.stdout.write(`${title} has ended\n`);
  } finally {
    clearTimeout(timer);
    connection.close();
  }
}
