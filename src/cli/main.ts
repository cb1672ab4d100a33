#!/usr/bin/env node
/** From argv to a command and an exit status. Commands load what they need when they run, so that all start fast. */
import { readFileSync } from "node:fs";
import { Command, CommanderError, Help, type Option } from "commander";
import { registerBench } from "./commands/bench.ts";
import { registerCheck } from "./commands/check.ts";
import { registerFilter } from "./commands/filter.ts";
import { registerLab } from "./commands/lab.ts";
import { registerReload } from "./commands/reload.ts";
import { registerRun } from "./commands/run.ts";
import { registerStats } from "./commands/stats.ts";
import { registerStop } from "./commands/stop.ts";
import { registerTop } from "./commands/top.ts";
import { registerTuntap } from "./commands/tuntap.ts";

const EXAMPLES = `
Examples:
  pktflow run pipelines/quickstart.yaml
  pktflow check pipelines/nat-gateway.yaml
  pktflow lab pipelines/nat-gateway.yaml -- ping -c 3 198.51.100.1
  pktflow stats --json | jq .devices
  pktflow filter new filters/mine
  pktflow tuntap add tun7 mode tun multi_queue

Exit status: 0 done; 1 failed while running; 2 wrong usage or an invalid file; 3
not permitted or not available here.
`;

async function main(argv: string[]): Promise<void> {
  const program = new Command("pktflow")
    .description("Packet processing in TypeScript: TUN/TAP devices, worker threads, sandboxed Wasm filters.")
    .version(version(), "-V, --version")
    .enablePositionalOptions()
    .showHelpAfterError("(pktflow --help lists the commands)")
    .addHelpText("after", EXAMPLES)
    .exitOverride()
    .configureHelp({ optionDescription })
    .configureOutput({
      outputError: (text, write) => write(`pktflow: ${usageText(text)}${hint(text, argv)}`),
    });
  const commands = [
    registerRun,
    registerCheck,
    registerLab,
    registerBench,
    registerStats,
    registerTop,
    registerReload,
    registerStop,
    registerFilter,
    registerTuntap,
  ];
  for (const register of commands) register(program);
  pointToHelp(program.commands, "pktflow");
  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    process.exitCode = await statusOf(error);
  }
}

/** A list that nothing is in yet is no default to speak of. */
function optionDescription(this: Help, option: Option): string {
  const isEmpty = Array.isArray(option.defaultValue) && option.defaultValue.length === 0;
  return isEmpty ? option.description : Help.prototype.optionDescription.call(this, option);
}

/** "error: option '--io <engine>' argument 'x' is invalid. it wants …" as one sentence. */
function usageText(text: string): string {
  return text
    .replace(/^error: /, "")
    .replace(/ is invalid\. Allowed choices are (.*)\.$/m, " is invalid: it wants one of $1")
    .replace(/ is invalid\. (.*)\.$/m, " is invalid: $1");
}

/** Wrong usage of a command is told with where its own help is. */
function pointToHelp(commands: readonly Command[], above: string): void {
  for (const command of commands) {
    const name = `${above} ${command.name()}`;
    command.showHelpAfterError(`(${name} --help lists its arguments and options)`);
    pointToHelp(command.commands, name);
  }
}

/** What was probably meant, as a line of its own; nothing when nobody knows. */
function hint(error: string, argv: string[]): string {
  if (error.includes("unknown command") && /\.ya?ml$/.test(argv[0])) {
    return `  did you mean "pktflow run ${argv[0]}"?\n`;
  }
  const [command, ...words] = argv;
  if (command !== "lab" || !error.includes("unknown option") || words.includes("--")) return "";
  // FILE and a program before the first option: the option is the program's.
  const first = words.findIndex((word) => error.includes(`'${word}'`));
  if (words.slice(0, first).filter((word) => !word.startsWith("-")).length < 2) return "";
  return "  the command to run stands behind --: pktflow lab FILE -- COMMAND...\n";
}

/**
 * Who reads our output has gone (`pktflow … | head`). Node has SIGPIPE ignored, so that a write fails instead: what runs
 * is stopped as by SIGTERM, drained, and the exit status says that not all was said.
 */
function endWithOutput(): void {
  let closed = false;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // EIO: it was a terminal.
    if (error.code !== "EPIPE" && error.code !== "EIO") throw error;
    if (closed) return;
    closed = true;
    process.on("exit", () => {
      process.exitCode ||= 1;
    });
    if (!process.emit("SIGTERM")) process.exit(1);
  });
}

async function statusOf(error: unknown): Promise<number> {
  // Commander has said what is wrong; asking for help or the version is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const { errorText, exitStatus } = await import("./exit.ts");
  process.stderr.write(errorText(error));
  return exitStatus(error);
}

function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

endWithOutput();
await main(process.argv.slice(2));
