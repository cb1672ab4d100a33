/**
 * What a program leaves on the machine: its processes (found by a variable in their environment) and the namespaces
 * that they are in or hold. Tests start it with the variable, look while it runs, end it, and look again.
 */
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export class Traces {
  readonly env = { PF_TRACE: randomBytes(8).toString("hex") };
  /** Namespaces that were not there outside: "net:[4026532177]". */
  private readonly seen = new Set<string>();

  /** Processes that have the variable, zombies aside. */
  processes(): number[] {
    return allProcesses().filter((pid) =>
      text(`/proc/${pid}/environ`).split("\0").includes(`PF_TRACE=${this.env.PF_TRACE}`),
    );
  }

  /** Remembers the namespaces of the processes as they are now, and gives them. */
  look(): string[] {
    const own = new Set(namespacesOf(process.pid));
    for (const pid of this.processes()) {
      for (const namespace of namespacesOf(pid)) if (!own.has(namespace)) this.seen.add(namespace);
    }
    return [...this.seen];
  }

  /** What is left: processes, and whoever still keeps one of the namespaces seen. */
  left(): string[] {
    const processes = this.processes().map((pid) => `process ${pid}: ${text(`/proc/${pid}/cmdline`)}`);
    const holders = allProcesses().flatMap((pid) =>
      namespacesOf(pid)
        .filter((namespace) => this.seen.has(namespace))
        .map((namespace) => `${namespace} kept by process ${pid}`),
    );
    return [...processes, ...holders];
  }
}

function allProcesses(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** Those it is in, and those it has a descriptor of. */
function namespacesOf(pid: number): string[] {
  const links = [
    ...["net", "pid", "mnt", "user"].map((kind) => `/proc/${pid}/ns/${kind}`),
    ...entries(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`),
    ...entries(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}/ns/net`),
  ];
  return links.map(link).filter((target) => /^(net|pid|mnt|user):\[/.test(target));
}

// Processes come and go while /proc is read.
function text(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function link(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return "";
  }
}
