/** Network namespaces for tests against the real kernel: random names, nothing outside them is touched. */
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { describe } from "vitest";
import { close } from "../../src/sys/calls.ts";
import { openNamespace, withNamespace } from "../../src/sys/namespaces.ts";

/** Why tests that need root and the kernel cannot run here; undefined: they can. */
export const LACKS = lacks();

function lacks(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (!existsSync("/dev/net/tun")) return "needs /dev/net/tun";
  if (spawnSync("ip", ["-V"]).error) return "needs iproute2";
  if (spawnSync("ping", ["-V"]).error) return "needs iputils-ping";
  // Root of a container may have neither.
  if (spawnSync("unshare", ["--mount", "--net", "true"]).status !== 0) return "needs CAP_SYS_ADMIN";
  return undefined;
}

/** A suite that is skipped, with the reason in its name, where the machine lacks what it needs. */
export function describeKernel(name: string, suite: () => void): void {
  if (LACKS === undefined) describe(name, suite);
  else describe.skip(`${name} (skipped: ${LACKS})`, suite);
}

export class TestNamespace {
  readonly name = `pf-${randomBytes(4).toString("hex")}`;

  constructor() {
    execFileSync("ip", ["netns", "add", this.name]);
  }

  remove(): void {
    execFileSync("ip", ["netns", "del", this.name]);
  }

  /** Runs a program inside, with the namespace's own /sys; gives its output. Throws when it fails. */
  run(command: string, ...args: string[]): string {
    return execFileSync("ip", ["netns", "exec", this.name, command, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  /** `ip WORDS`, split at spaces. */
  ip(words: string): string {
    return this.run("ip", ...words.split(" "));
  }

  /** `ip -j -d WORDS`. */
  // biome-ignore lint/suspicious/noExplicitAny: whatever ip prints
  json(words: string): any[] {
    return JSON.parse(this.ip(`-j -d ${words}`) || "[]").filter((one: object) => Object.keys(one).length > 0);
  }

  /** Runs a function on this thread inside. */
  inside<T>(visit: () => T): T {
    const namespace = openNamespace(this.name);
    try {
      return withNamespace(namespace, visit);
    } finally {
      close(namespace);
    }
  }
}
