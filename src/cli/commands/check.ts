/** `pktflow check FILE`: validates a pipeline and prints its plan. Opens no device. */
import type { Command } from "commander";
import colors from "picocolors";
import type { Diagnostic } from "../../config/diagnostics.ts";
import type { Pipeline } from "../../config/types.ts";
import { MOST_HELD_SLOTS } from "../../plan/plan.ts";
import type { Plan } from "../../plan/types.ts";
import { binaryBytes, table, whole } from "../format.ts";
import { setOption } from "../options.ts";

export function registerCheck(program: Command): void {
  program
    .command("check")
    .description(
      "validate a pipeline and print its plan: devices, queues to workers, paths, memory; touches nothing",
    )
    .argument("[file]", "the pipeline file (YAML)")
    .addOption(setOption())
    .option("--json", "print the plan as JSON, or { diagnostics } where the file is wrong")
    .option("--schema", "print the JSON Schema of pipeline files instead, for editors")
    .action(
      async (file: string | undefined, options: { set: string[]; json?: boolean; schema?: boolean }) => {
        if (options.schema === true) return await printSchema();
        if (file === undefined) {
          const { UsageError } = await import("../exit.ts");
          throw new UsageError(
            "check: missing the pipeline file: pktflow check FILE, or --schema for the JSON Schema of such files",
          );
        }
        await check(file, options);
      },
    );
}

async function check(file: string, options: { set: string[]; json?: boolean }): Promise<void> {
  const { loadPipeline } = await import("../../config/pipeline.ts");
  const { planWithoutOpening } = await import("../../workers/prepare.ts");
  const { NotStarted } = await import("../exit.ts");
  const { ConfigError, renderDiagnostic } = await import("../../config/diagnostics.ts");
  const onWarning = (warning: Diagnostic) => process.stderr.write(`${renderDiagnostic(warning)}\n`);
  const pipeline = (() => {
    try {
      return loadPipeline(file, { set: options.set, onWarning });
    } catch (error) {
      if (options.json === true && error instanceof ConfigError) {
        process.stdout.write(`${JSON.stringify({ diagnostics: error.diagnostics }, null, 2)}\n`);
      }
      throw error;
    }
  })();
  // What is said of it here is what run would say, with the same exit status.
  const plan = await planWithoutOpening(pipeline).catch((error: unknown) => {
    throw new NotStarted(error);
  });
  for (const warning of pipeline.warnings ?? []) process.stderr.write(`pktflow: warning: ${warning}\n`);
  process.stdout.write(
    options.json === true ? `${JSON.stringify(plan, null, 2)}\n` : `${planText(pipeline, plan)}\n`,
  );
}

async function printSchema(): Promise<void> {
  const { fullPipelineSchema } = await import("../../config/schema.ts");
  process.stdout.write(`${JSON.stringify(fullPipelineSchema(), null, 2)}\n`);
}

function planText(pipeline: Pipeline, plan: Plan): string {
  return [
    `${colors.bold(pipeline.name)}: ${pipeline.file} is valid`,
    deviceTable(plan),
    pathLines(plan),
    workerTable(plan),
    ...heldLines(plan),
    memoryLine(plan),
  ].join("\n\n");
}

function deviceTable(plan: Plan): string {
  const rows = plan.devices.map((device) => [
    device.id,
    device.kind,
    device.layer === 0 ? "by link type" : String(device.layer),
    String(device.queues),
    // What has no MTU takes packets of any size.
    device.mtu === 0 ? "-" : String(device.mtu),
  ]);
  return table(["device", "kind", "layer", "queues", "mtu"], rows, 2);
}

/** A path a line: `outbound: lan -> sane -> firewall [refuse -> bounce] -> masquerade -> wan` */
function pathLines(plan: Plan): string {
  return plan.paths
    .map((path) => {
      const steps = path.steps.map((step) => {
        const filter = plan.filters[step.filter];
        const named = step.outputs
          .map((target, output) =>
            target < 0 ? "" : `${filter.outputs[output]} -> ${plan.paths[target].id}`,
          )
          .filter((text) => text !== "");
        return named.length === 0 ? filter.id : `${filter.id} [${named.join(", ")}]`;
      });
      const from =
        path.from.length === 0 ? "(another path)" : path.from.map((i) => plan.devices[i].id).join(" + ");
      const to =
        path.to.kind === "device"
          ? plan.devices[path.to.device].id
          : path.to.kind === "path"
            ? `path ${plan.paths[path.to.path].id}`
            : "drop";
      return `${colors.bold(path.id)}: ${[from, ...steps, to].join(" -> ")}`;
    })
    .join("\n");
}

function workerTable(plan: Plan): string {
  const queues = (worker: Plan["workers"][number], reads: boolean) =>
    worker.ports
      .filter((port) => (reads ? port.path >= 0 : port.transmits))
      .map((port) => `${plan.devices[port.device].id}:${port.queue}`)
      .join(" ") || "-";
  const rows = plan.workers.map((worker, i) => [
    String(i),
    queues(worker, true),
    queues(worker, false),
    `${worker.slots.count} x ${binaryBytes(worker.slots.bytes)}`,
  ]);
  return table(["worker", "reads", "writes", "packet slots"], rows, 4);
}

/** Filters that may hold fewer packets than they ask for: their queues are shorter than their parameters say. */
function heldLines(plan: Plan): string[] {
  const [{ instances, slots }] = plan.workers;
  const asked = plan.filters.reduce((sum, { holds }) => sum + holds, 0);
  const granted = instances.reduce((sum, { hold }) => sum + (hold?.limit ?? 0), 0);
  // Rounded down for each.
  const byCount = granted + plan.filters.length >= MOST_HELD_SLOTS;
  const why = byCount
    ? `all filters together ask for ${whole(asked)}, and ${whole(MOST_HELD_SLOTS)} is the most`
    : `slots of ${binaryBytes(slots.bytes)} for all that filters ask for would take more memory than they may`;
  const lines = plan.filters.flatMap(({ id, holds }, i) => {
    const limit = instances[i].hold?.limit ?? 0;
    if (limit >= holds) return [];
    return [
      `${colors.yellow(id)} holds ${whole(limit)} packets at most on a worker, not ${whole(holds)}: ${why}`,
    ];
  });
  return lines.length === 0 ? [] : [lines.join("\n")];
}

function memoryLine(plan: Plan): string {
  const shared = plan.filters.reduce(
    (sum, filter) => sum + filter.sharedState.bytes + filter.preparedState.bytes,
    0,
  );
  const slots = plan.workers.reduce((sum, worker) => sum + worker.slots.count * worker.slots.bytes, 0);
  return (
    `memory: ${binaryBytes(plan.pages * 65536)}, of which packet slots ${binaryBytes(slots)}, ` +
    `filters' shared state ${binaryBytes(shared)}`
  );
}
