/** scapy as a maker and a judge of packets: nothing of ours in between. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const PYTHON = "/usr/bin/python3";
const SCRIPT = fileURLToPath(new URL("scapy_packets.py", import.meta.url));

/** Why tests that need scapy cannot run here; undefined: they can. */
export const LACKS_SCAPY =
  spawnSync(PYTHON, ["-c", "import scapy"]).status === 0 ? undefined : "needs python3-scapy";

export interface Seen {
  from: string;
  to: string;
  /** Source and destination of TCP and UDP, or the identifier of an ICMP query. */
  ports: number[];
  /** Checksums that are not what scapy would write, in words; a quote's too, as far as it is whole. */
  wrong: string[];
  /** Type and code. */
  icmp?: [number, number];
  /** What an ICMP error quotes, in hex, and what scapy sees in it. */
  quote?: string;
  quoted?: { from: string; to: string; ports: number[] };
}

/** Packets that scapy made. */
export function scapyMake(set: "nat" | "any"): Uint8Array[] {
  return run(["make", set], "").map((line) => Uint8Array.from(Buffer.from(line, "hex")));
}

/** What scapy sees in packets that start with their IP header. */
export function scapySees(packets: Uint8Array[]): Seen[] {
  const input = packets.map((bytes) => Buffer.from(bytes).toString("hex") + "\n").join("");
  return run(["check"], input).map((line) => JSON.parse(line) as Seen);
}

function run(args: string[], input: string): string[] {
  const { status, stdout, stderr } = spawnSync(PYTHON, [SCRIPT, ...args], {
    input,
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  if (status !== 0) throw new Error(`${PYTHON} ${SCRIPT} ${args.join(" ")}: ${stderr}`);
  return stdout.split("\n").filter((line) => line !== "");
}
