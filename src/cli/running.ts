/** The running pipeline that a command is about. */
import { existsSync } from "node:fs";
import type { Command } from "commander";
import type { Connection } from "../control/client.ts";
import type { Found } from "../control/find.ts";
import type { About } from "../control/protocol.ts";
import { UsageError } from "./exit.ts";
import { table } from "./format.ts";

export interface Target {
  about: About;
  connection: Connection;
  /** Of its socket. */
  path: string;
  /** "quickstart (pid 123)" */
  title: string;
}

const NAME_HELP = `
NAME is the pipeline's name, or the process id of its pktflow. Without it, it is
the one that runs; when several do, they are listed. Pipelines are found by
their sockets: those of the same user, in $PKTFLOW_RUNTIME_DIR or, if that is
not set, in /run/pktflow (root), $XDG_RUNTIME_DIR/pktflow or pktflow-UID in the
directory for temporary files.
`;

/** Adds NAME, and to the help what it may be. @param help what else there is to say of the command, before that */
export function nameArgument(command: Command, help = ""): Command {
  return command
    .argument("[name]", "the pipeline's name or pid; needed when several run")
    .addHelpText("after", help + NAME_HELP);
}

/**
 * @param name a pipeline's name or pid; undefined: the one that runs
 * @throws UsageError: several are meant; Error: none is, or it does not answer
 */
export async function findTarget(command: string, name: string | undefined): Promise<Target> {
  const { runtimeDirectories } = await import("../control/directory.ts");
  const { findPipelines } = await import("../control/find.ts");
  const refusals: string[] = [];
  const all = await findPipelines(runtimeDirectories(), refusals);
  const meant = all.filter(
    ({ pid, about }) => name === undefined || String(pid) === name || about?.name === name,
  );
  const [target] = meant;
  for (const { connection } of all)
    if (meant.length !== 1 || connection !== target.connection) connection?.close();
  if (meant.length === 0) throw await noneError(command, name, all, refusals);
  if (meant.length > 1) throw new UsageError(severalText(command, name, meant));
  const { about, connection, path, pid, problem } = target;
  if (about === undefined || connection === undefined) {
    throw new Error(`${command}: the pipeline with pid ${pid} does not say who it is: ${problem}`);
  }
  return { about, connection, path, title: `${about.name} (pid ${about.pid})` };
}

/**
 * After its connection has ended: that it has ended too is not yet said by that.
 * @throws Error: it is there still
 */
export async function confirmEnd(command: string, { about: { pid }, path, title }: Target): Promise<void> {
  const { isGone } = await import("../control/find.ts");
  if (await isGone({ pid, path })) return;
  const why = `the connection to ${title} was lost, and its process is still there`;
  throw new Error(`${command}: ${why}: whether it ends is not known`);
}

async function noneError(
  command: string,
  name: string | undefined,
  all: Found[],
  refusals: string[],
): Promise<Error> {
  const others = refusals.map((refusal) => `\n  not looked into: ${refusal}`).join("");
  if (name !== undefined && all.length > 0) {
    const { closest } = await import("../params/suggest.ts");
    const near = closest(
      name,
      all.flatMap(({ about }) => about?.name ?? []),
    );
    const hint = near === undefined ? "" : ` (did you mean "${near}"?)`;
    return new Error(`${command}: no pipeline ${name} runs${hint}; these do:\n${listText(all)}${others}`);
  }
  const which = name === undefined ? "no pipeline runs" : `no pipeline ${name} runs, nor any other`;
  const isUser = process.getuid?.() !== 0 && existsSync("/run/pktflow");
  const hint = isUser ? "\n  those of root are talked to by root: sudo pktflow …" : "";
  return new Error(`${command}: ${which}${hint}${others}`);
}

function severalText(command: string, name: string | undefined, meant: Found[]): string {
  const what = name === undefined ? `${meant.length} pipelines run` : `${meant.length} pipelines ${name} run`;
  const how = name === undefined ? "a name or pid" : "a pid";
  return `${command}: ${what}; say which by ${how}: pktflow ${command} ${meant[0].pid}\n${listText(meant)}`;
}

function listText(all: Found[]): string {
  const rows = all.map(({ pid, about, problem }) => [
    about?.name ?? "?",
    String(pid),
    about?.file ?? `(${problem})`,
  ]);
  return table(["name", "pid", "file"], rows, 3)
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}
