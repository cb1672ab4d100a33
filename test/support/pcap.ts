/** Capture files for tests: made by hand here, by scapy and wireshark's tools elsewhere, and read by tshark. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { preparePcap } from "../../src/devices/pcap/prepare.ts";
import { openPcapSource } from "../../src/devices/pcap/source.ts";
import { type Packet, readAll, TestMemory } from "./packet-memory.ts";

/** A folder that is gone when the test file ends; use it in afterAll. */
export class Folder {
  readonly path = mkdtempSync(join(tmpdir(), "pktflow-test-"));

  file(name: string, bytes?: Uint8Array): string {
    const path = join(this.path, name);
    if (bytes !== undefined) writeFileSync(path, bytes);
    return path;
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

export function hasTool(...commands: string[]): boolean {
  return commands.every((command) => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0);
}

export const hasScapy = spawnSync("/usr/bin/python3", ["-c", "import scapy"]).status === 0;

/** Runs a scapy program with the file names as sys.argv[1:]. @returns what it prints */
export function scapy(program: string, ...files: string[]): string {
  const source = `import sys\nfrom scapy.all import *\nfrom scapy.utils import *\nconf.verb = 0\n${program}`;
  return execFileSync("/usr/bin/python3", ["-W", "ignore", "-c", source, ...files], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
}

/** Options of tshark: what is behind a UDP or TCP header is of no protocol. A port that a translator chose may be one's. */
export const ANY_PORT = ["udp", "tcp"].flatMap((protocol) => ["-d", `${protocol}.port==1-65535,data`]);

/** Fields of every packet as tshark sees them. */
export function tshark(file: string, fields: string[], ...options: string[]): string[][] {
  const args = ["-n", "-r", file, "-T", "fields", ...options, ...fields.flatMap((field) => ["-e", field])];
  const text = execFileSync("tshark", args, { encoding: "utf8", maxBuffer: 1 << 28, stdio: "pipe" });
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split("\t"));
}

/** All packets of a capture through preparePcap and openPcapSource. @param room longest packet of a slot */
export async function readCapture(
  file: string,
  params: Record<string, string | number> = {},
  options: { room?: number; queue?: number } = {},
): Promise<{ packets: Packet[]; error: Error | undefined; counted: Record<string, number>; layer: number }> {
  const prepared = await preparePcap(pcapDevice({ read: file, ...params }));
  try {
    const { facts } = prepared;
    const memory = new TestMemory({ slots: 64, room: options.room ?? 2048, extra: facts.bufferBytes });
    const port = memory.port(facts.bufferBytes, { queue: options.queue ?? 0, queues: facts.queues });
    const { packets, error } = readAll(memory, openPcapSource(port, structuredClone(prepared.source!)));
    if (memory.freeCount !== memory.slots) throw new Error("the source lost descriptors");
    return { packets, error, counted: memory.counted(port), layer: facts.layer };
  } finally {
    prepared.close();
  }
}

export function pcapDevice(params: Record<string, string | number>) {
  return { id: "trace", kind: "pcap", params: { pace: "asap", queues: 1, ...params } };
}

export interface HandMade {
  bigEndian?: boolean;
  nanoseconds?: boolean;
  linkType?: number;
  snaplen?: number;
}

export interface HandMadeRecord {
  seconds: number;
  fraction: number;
  bytes: Uint8Array;
  /** On the wire, if more than was captured. */
  length?: number;
}

/** A pcap file, byte by byte as the specification says. */
export function pcapFile(records: HandMadeRecord[], made: HandMade = {}): Uint8Array {
  const { bigEndian = false, nanoseconds = false, linkType = 101, snaplen = 65535 } = made;
  const magic = nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4;
  const parts = [fields(bigEndian, [4, magic], [2, 2], [2, 4], [4, 0], [4, 0], [4, snaplen], [4, linkType])];
  for (const { seconds, fraction, bytes, length = bytes.length } of records) {
    parts.push(fields(bigEndian, [4, seconds], [4, fraction], [4, bytes.length], [4, length]), bytes);
  }
  return concat(parts);
}

/** A pcapng block: type, length, body padded to 4, length. */
export function block(bigEndian: boolean, type: number, ...body: Uint8Array[]): Uint8Array {
  const content = padded(concat(body));
  const length = 12 + content.length;
  return concat([fields(bigEndian, [4, type], [4, length]), content, fields(bigEndian, [4, length])]);
}

/** A pcapng option. */
export function option(bigEndian: boolean, code: number, value: Uint8Array): Uint8Array {
  return concat([fields(bigEndian, [2, code], [2, value.length]), padded(value)]);
}

/** Integers of the given sizes, one after another. */
export function fields(
  bigEndian: boolean,
  ...list: [size: 1 | 2 | 4 | 8, value: number | bigint][]
): Uint8Array {
  const parts = list.map(([size, value]) => {
    const view = new DataView(new ArrayBuffer(size));
    if (size === 1) view.setUint8(0, Number(value));
    else if (size === 2) view.setUint16(0, Number(value), !bigEndian);
    else if (size === 4) view.setUint32(0, Number(value), !bigEndian);
    else view.setBigInt64(0, BigInt(value), !bigEndian);
    return new Uint8Array(view.buffer);
  });
  return concat(parts);
}

export function concat(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function padded(bytes: Uint8Array): Uint8Array {
  return concat([bytes, new Uint8Array((4 - (bytes.length % 4)) % 4)]);
}

/** A UDP packet over IPv4 with the right lengths; its checksums are zero. */
export function udp4(from: number[], to: number[], ports: [number, number], payload = 8): Uint8Array {
  const total = 28 + payload;
  const ip = [0x45, 0, total >> 8, total & 255, 0, 1, 0, 0, 64, 17, 0, 0, ...from, ...to];
  const udp = [ports[0] >> 8, ports[0] & 255, ports[1] >> 8, ports[1] & 255, 0, 8 + payload, 0, 0];
  return new Uint8Array([...ip, ...udp, ...new Array(payload).fill(0x61)]);
}
