/** The socket of a pipeline that this process runs: what `pktflow stats`, `top`, `reload` and `stop` talk to. */
import { resolve } from "node:path";
import type { Pipeline } from "../config/types.ts";
import { type About, ControlError, type ReloadReply } from "../control/protocol.ts";
import type { Report } from "../control/report.ts";
import type { Reloaded } from "../workers/reload.ts";
import { EXIT, errorText, exitStatus } from "./exit.ts";

/** What the help of `run` and `lab` says. */
export const NO_CONTROL = "no socket for pktflow stats, top, reload and stop to talk to";

export interface Controlled {
  pipeline: Pipeline;
  command: "run" | "lab";
  /** The file and options that it was started with; what is said of it in other shells names its whole path. */
  file: string;
  set: string[];
  report(): Report;
  /** Asks it to end. */
  stop(): unknown;
  /** Takes over what differs in another version of the pipeline, or nothing of it. @throws NotReloadable */
  reload(version: Pipeline): Promise<Reloaded>;
  /** Gets what there is to say of what was asked for. */
  log(text: string): unknown;
}

/** When the socket is opened, ms after the start: until then the first packets have the processors for themselves. */
const DELAY = 50;

/**
 * Opens the socket when packets flow. That there can be none is said, and is no reason not to run.
 * @returns what closes it
 */
export function startControl(controlled: Controlled): () => void {
  const started = new Date().toISOString();
  const whole = { ...controlled, file: resolve(controlled.file) };
  let isOver = false;
  let close = () => {};
  const open = async () => {
    const { openControl } = await import("../control/server.ts");
    const socket = await openControl(aboutOf(whole, started), handlersOf(whole));
    if (isOver) socket.close();
    else close = socket.close;
  };
  const timer = setTimeout(() => {
    open().catch((error: unknown) => {
      const why = (error as Error).message;
      if (isOver) return;
      process.stderr.write(`pktflow: warning: no control socket, so nothing can be asked of it: ${why}\n`);
    });
  }, DELAY).unref();
  return () => {
    isOver = true;
    clearTimeout(timer);
    close();
  };
}

function aboutOf({ pipeline, command, file }: Controlled, started: string): About {
  return { name: pipeline.name, pid: process.pid, file, command, started };
}

function handlersOf(controlled: Controlled): import("../control/server.ts").Handlers {
  // One after another: each is held against what the one before it has left.
  let last: Promise<unknown> = Promise.resolve();
  return {
    stats: () => controlled.report(),
    stop() {
      controlled.stop();
      return {};
    },
    reload() {
      const reloaded = last.then(() => reloadFile(controlled));
      last = reloaded.catch(() => {});
      return reloaded;
    },
  };
}

/** Reads the file as it was read at the start, and takes over what it may. @throws ControlError: nothing has changed */
async function reloadFile(controlled: Controlled): Promise<ReloadReply> {
  const { loadPipeline } = await import("../config/pipeline.ts");
  const { renderDiagnostic } = await import("../config/diagnostics.ts");
  const warnings: string[] = [];
  try {
    const pipeline = loadPipeline(controlled.file, {
      set: controlled.set,
      // What was piped in is gone, and to wait for more of it would be to wait with all else.
      onlyFiles: true,
      onWarning: (warning) => warnings.push(renderDiagnostic(warning)),
    });
    warnings.push(...(pipeline.warnings ?? []).map((warning) => `pktflow: warning: ${warning}`));
    const { changed, waiting, trapped } = await controlled.reload(pipeline);
    if (changed.length > 0) controlled.log(`reloaded: ${changedText(changed).join("; ")}`);
    return { changed, waiting, trapped, warnings };
  } catch (error) {
    const refused = await refusedReload(error);
    controlled.log(`not reloaded: ${refused.refusal.reasons?.join("; ") ?? refused.message}`);
    throw refused;
  }
}

/** `firewall: rules, sets`, a filter a line. */
export function changedText(changed: ReloadReply["changed"]): string[] {
  return changed.map(({ filter, params }) => `${filter}: ${params.join(", ")}`);
}

async function refusedReload(error: unknown): Promise<ControlError> {
  const { NotReloadable } = await import("../workers/reload.ts");
  const { message, diagnostics } = error as Error & { diagnostics?: object[] };
  if (error instanceof NotReloadable) {
    return new ControlError({ code: "not-reloadable", message, reasons: error.reasons });
  }
  // The file's fault, or a filter's that it names.
  if (exitStatus(error) !== EXIT.USAGE) return new ControlError({ code: "failed", message });
  return new ControlError({
    code: "invalid-file",
    message: errorText(error, "/").trimEnd(),
    ...(diagnostics === undefined ? {} : { diagnostics }),
  });
}
