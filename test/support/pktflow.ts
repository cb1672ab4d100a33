/** The built command line as a process, for tests of what a user runs. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Report } from "../../src/control/report.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const MAIN = join(ROOT, "build/bundle/main.js");

export interface Finished {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export class Pktflow {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  readonly finished: Promise<Finished>;

  constructor(args: string[], options: { env?: NodeJS.ProcessEnv; cwd?: string; prefix?: string[] } = {}) {
    const [command, ...rest] = [...(options.prefix ?? []), process.execPath, MAIN, ...args];
    const env = { ...process.env, NO_COLOR: "1", ...options.env };
    this.child = spawn(command, rest, { env, cwd: options.cwd ?? ROOT, stdio: ["ignore", "pipe", "pipe"] });
    this.child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    this.child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    this.finished = new Promise((resolve, reject) => {
      this.child.on("error", reject);
      this.child.on("close", (status, signal) =>
        resolve({ status, signal, stdout: this.stdout, stderr: this.stderr }),
      );
    });
  }

  /** Ends it with a signal, if it has not ended, and gives its result. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<Finished> {
    this.child.kill(signal);
    return await this.finished;
  }
}

/** Runs a command to its end. */
export function pktflow(
  args: string[],
  options?: ConstructorParameters<typeof Pktflow>[1],
): Promise<Finished> {
  return new Pktflow(args, options).finished;
}

/** Waits until a condition holds. @throws when it does not within `limit` ms */
export async function until(what: string, condition: () => boolean, limit = 10_000): Promise<void> {
  const end = performance.now() + limit;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what}: not within ${limit} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A folder that goes with the test. */
export class TemporaryFolder {
  readonly path = mkdtempSync(join(tmpdir(), "pktflow-test-"));

  file(name: string): string {
    return join(this.path, name);
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export function readReport(path: string): Report {
  return JSON.parse(readFileSync(path, "utf8"));
}
