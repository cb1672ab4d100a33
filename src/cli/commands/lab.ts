/** `pktflow lab FILE`: a pipeline between private hosts; a command on one of them, or a self-check of all. */
import { readFileSync, writeFileSync } from "node:fs";
import type { Command } from "commander";
import type { Pipeline } from "../../config/types.ts";
import type { Lab } from "../../lab/lab.ts";
import { checkText, hostTable, progressLine, verdictLine } from "../check-text.ts";
import { NO_CONTROL, startControl } from "../control.ts";
import { EXIT, NotStarted, UsageError } from "../exit.ts";
import { parseIo, setOption } from "../options.ts";
import { summary } from "../summary.ts";
import { prepareReport } from "./run.ts";

interface LabOptions {
  in?: string;
  set: string[];
  io: "auto" | "uring" | "poll";
  report?: string;
  quiet?: boolean;
  control: boolean;
}

/** A command that was told to end and does not is killed after this long. ms */
const PATIENCE = 5000;

const HELP = `
Each tun or tap device gets a network namespace of its own as a host: the
device's address is the host's, and its default route leads into the pipeline.
Nothing of it is seen outside, and nothing is left, even after kill -9.

COMMAND runs on the first device's host, or on that of --in, in a pid namespace
of its own: whatever it leaves running ends with it. Its environment has
PKTFLOW_PIPELINE, PKTFLOW_DEVICE and, for each device, PKTFLOW_NETNS_DEVICE, to
reach the others:
  pktflow lab pipelines/nat-gateway.yaml -- sh -c 'nsenter --net=$PKTFLOW_NETNS_WAN iperf3 -s -D -p 443; sleep 1;
    iperf3 -c 198.51.100.1 -p 443'
Exit status: COMMAND's, or 128 + N when signal N killed it.

Without COMMAND every host sends ICMP, UDP and TCP to every other one. Exit
status: 0 when something got through, all that did not is explained by the
pipeline's counters, and no packet is unaccounted for; else 1. A single host
sends to an address that nobody has, so nothing has to get through; what such a
pipeline does, a COMMAND shows.

Without privileges it runs in a user namespace, where those are allowed and
/dev/net/tun may be opened.
`;

export function registerLab(program: Command): void {
  program
    .command("lab")
    .description("run a pipeline between private hosts: a self-check, or a command on one of them")
    .argument("<file>", "the pipeline file (YAML)")
    .argument("[command...]", "what to run on a host, after --")
    .usage("[options] <file> [-- command...]")
    .option("--in <device>", "run the command on this device's host (default: the first one's)")
    .addOption(setOption())
    .option("--io <engine>", "how packets move: auto, uring or poll", parseIo, "auto")
    .option("--report <file>", "write the final report as JSON (- for standard output)")
    .option("--quiet", "no summary; the self-check prints only what is wrong")
    .option("--no-control", NO_CONTROL)
    .addHelpText("after", HELP)
    .action(async (file: string, command: string[], options: LabOptions) => {
      process.exitCode = await lab(file, command, options);
    });
}

async function lab(file: string, argv: string[], options: LabOptions): Promise<number> {
  const { loadPipeline } = await import("../../config/pipeline.ts");
  const pipeline = loadPipeline(file, { set: options.set });
  await checkUsage(pipeline, file, argv, options);
  if (options.report !== undefined) prepareReport(options.report);
  const started = await start(pipeline, options);
  const closeControl = options.control ? openControl(started, file, options) : () => {};
  try {
    return argv.length > 0
      ? await withCommand(started, argv, options)
      : await withSelfCheck(started, file, options);
  } finally {
    closeControl();
  }
}

function openControl({ pipeline, running, move }: Lab, file: string, options: LabOptions): () => void {
  return startControl({
    pipeline,
    command: "lab",
    file,
    set: options.set,
    report: () => running.report(),
    // Whoever ends the lab ends its command too.
    stop: () => process.emit("SIGTERM", "SIGTERM"),
    reload: (version) => running.reload(move(version)),
    log: (text) => options.quiet !== true && say(text),
  });
}

/** What can be said before anything is made. */
async function checkUsage(
  pipeline: Pipeline,
  file: string,
  argv: string[],
  options: LabOptions,
): Promise<void> {
  const { isHostDevice } = await import("../../lab/topology.ts");
  const hosts = pipeline.devices.filter(isHostDevice).map(({ id }) => id);
  if (hosts.length === 0) {
    throw new UsageError(
      `lab: ${file} has no tun or tap device, so there are no hosts: pktflow run ${file} runs it as it is`,
    );
  }
  if (options.in === undefined) return;
  if (argv.length === 0)
    throw new UsageError("lab: --in is where COMMAND runs, and there is none: -- COMMAND…");
  if (!hosts.includes(options.in)) {
    throw new UsageError(`lab: --in ${options.in}: the hosts are those of ${hosts.join(", ")}`);
  }
}

async function start(pipeline: Pipeline, options: LabOptions): Promise<Lab> {
  const { startLab } = await import("../../lab/lab.ts");
  const { enterUserNamespace, needsUserNamespace } = await import("../../lab/user-namespace.ts");
  (await import("../../workers/pool.ts")).processIsOurs();
  try {
    const lab = await startLab(pipeline, { io: options.io });
    if (options.quiet !== true) {
      lab.running.followLogs(({ filter, text }) => process.stderr.write(`pktflow: ${filter}: ${text}\n`));
    }
    return lab;
  } catch (error) {
    if (!needsUserNamespace(error)) throw new NotStarted(error);
    return enterUserNamespace();
  }
}

async function withCommand(lab: Lab, argv: string[], options: LabOptions): Promise<number> {
  const { startCommand } = await import("../../lab/command.ts");
  const host = lab.hosts.find(({ device }) => device === options.in) ?? lab.hosts[0];
  const command = startCommand({ argv, host, hosts: lab.hosts, pipeline: lab.pipeline.name });
  const release = passSignals(command);
  let commandRuns = true;
  lab.running.ended.then(
    () => commandRuns && say("the pipeline has ended with its sources; the command still runs"),
    () => commandRuns && say("the pipeline has failed; the command still runs"),
  );
  try {
    return await command.status;
  } finally {
    commandRuns = false;
    release();
    // The command's output may be what somebody reads by program, so the summary keeps out of it.
    await finish(lab, options, process.stderr);
  }
}

function say(text: string): void {
  process.stderr.write(`pktflow: lab: ${text}\n`);
}

/** While a command runs, signals are its own: it decides, and the lab ends when it has. */
function passSignals(command: import("../../lab/command.ts").RunningCommand): () => void {
  let deadline: NodeJS.Timeout | undefined;
  const end = (signal: NodeJS.Signals) => {
    command.signal(signal);
    deadline ??= setTimeout(() => command.kill(), PATIENCE);
  };
  const interrupt = (signal: NodeJS.Signals) => {
    if (!sentByTerminal()) command.signal(signal);
  };
  process.on("SIGTERM", end).on("SIGHUP", end).on("SIGINT", interrupt).on("SIGQUIT", interrupt);
  return () => {
    clearTimeout(deadline);
    process.off("SIGTERM", end).off("SIGHUP", end).off("SIGINT", interrupt).off("SIGQUIT", interrupt);
  };
}

/**
 * A terminal sends ^C to all of its foreground process group, so the command has it already. Is this process in it?
 * proc_pid_stat(5): pid (comm) state ppid pgrp session tty_nr tpgid
 */
function sentByTerminal(): boolean {
  const stat = readFileSync("/proc/self/stat", "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [, , group, , terminal, foreground] = fields;
  return terminal !== "0" && group === foreground;
}

async function withSelfCheck(lab: Lab, file: string, options: LabOptions): Promise<number> {
  const { failures, planPairs, selfCheck } = await import("../../lab/selfcheck.ts");
  const out = options.report === "-" || lab.running.usesStdout ? process.stderr : process.stdout;
  const interrupted = new AbortController();
  const interrupt = (signal: NodeJS.Signals) => interrupted.abort(new Error(`lab: ended by ${signal}`));
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt).on("SIGHUP", interrupt);
  const progress = options.quiet === true ? undefined : progressLine(process.stderr);
  try {
    if (planPairs(lab).length === 0) throw nothingToCheck(lab);
    if (options.quiet !== true) out.write(`${hostTable(lab)}\n\n`);
    const results = await selfCheck(lab, { onStep: progress?.show, signal: interrupted.signal });
    progress?.erase();
    if (options.quiet !== true) out.write(`${checkText(results)}\n`);
    await finish(lab, options, out);
    const wrong = failures(results, lab.running.report());
    if (options.quiet !== true) out.write(`\n${verdictLine(results, wrong.length === 0, file)}\n`);
    for (const what of wrong) say(what);
    return wrong.length === 0 ? EXIT.OK : EXIT.FAILED;
  } finally {
    progress?.erase();
    await lab.end();
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt).off("SIGHUP", interrupt);
  }
}

function nothingToCheck(lab: Lab): UsageError {
  const hosts = lab.hosts.map(({ device }) => device).join(", ");
  return new UsageError(
    `lab: there is nothing to check: no host (${hosts}) has a path and an address, and another one's address to try; ` +
      "give a COMMAND to run instead",
  );
}

/** Ends the lab; then the report and the summary. @throws what ended the pipeline, after that */
async function finish(lab: Lab, options: LabOptions, out: NodeJS.WriteStream): Promise<void> {
  try {
    await lab.end();
  } finally {
    const report = lab.running.report();
    for (const warning of lab.running.warnings) process.stderr.write(`pktflow: warning: ${warning}\n`);
    if (options.report === "-") process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    else if (options.report !== undefined)
      writeFileSync(options.report, `${JSON.stringify(report, null, 2)}\n`);
    if (options.quiet !== true) out.write(`\n${summary(report)}\n`);
  }
}
