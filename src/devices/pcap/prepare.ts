/**
 * A capture device before any worker runs. Thread: the main one. In: its parameters. Out: facts for the plan, and plain
 * data for the workers. What is wrong with the beginning of a file is said here, and nothing is written before `create`.
 */
import { fstatSync, open as openAsync, type Stats, statSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { PacketMemory } from "../../batches/memory.ts";
import type { DeviceConfig } from "../../config/types.ts";
import type { ParamValues } from "../../params/types.ts";
import type { DeviceFacts } from "../../plan/types.ts";
import {
  clockMonotonic,
  close,
  F_GETFL,
  F_SETFL,
  fcntl,
  O_CREAT,
  O_NONBLOCK,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
} from "../../sys/calls.ts";
import { check, SystemError } from "../../sys/errno.ts";
import { addressOf } from "../../sys/memory.ts";
import { Capture } from "./capture.ts";
import { captureHeader, formatOfName } from "./header.ts";
import { CaptureError } from "./records.ts";
import { MOST_RECORDS, PCAP_WRITE_BYTES, type PcapSinkOptions } from "./sink.ts";
import type { PcapSourceOptions } from "./source.ts";
import { stateBytes } from "./state.ts";
import { PCAP_READ_BYTES, STATUS, Window } from "./window.ts";
import { Writer } from "./writer.ts";

const O_APPEND = 0o2000;
const EISDIR = 21;
const ENXIO = 6;
const STDIN = 0;
const STDOUT = 1;
/** An IP packet cannot be longer, and a capture of TCP offloads has packets as long. */
const LONGEST_PACKET = 65535;
const MTU = 1500;
const PIPE_RETRY = 10;

export interface PreparedPcap {
  facts: DeviceFacts;
  /** For openPcapSource; undefined: nothing is read. */
  source: PcapSourceOptions | undefined;
  /** For openPcapSink; undefined until `create`, or nothing is written. */
  sink: PcapSinkOptions | undefined;
  /** Packets go to standard output, so nothing else may. */
  usesStdout: boolean;
  /**
   * Creates the file to write, or empties it, and writes its header. Does nothing on a device without `write`.
   * @param layer of the packets that will arrive
   * @param recorded indices of the devices that read captures: their packets have the time of their record
   * @param live packets come from devices that wait for nobody
   * @throws SystemError
   */
  create(layer: 2 | 3, recorded: number[], live?: boolean): Promise<void>;
  /** Call it when no worker uses the device any more. @throws SystemError when what was written did not arrive */
  close(): void;
}

/** What is known without touching a file. */
export function pcapFacts(params: ParamValues): DeviceFacts {
  const reads = fileOf(params, "read") !== "";
  const writes = fileOf(params, "write") !== "";
  return {
    layer: 0,
    mtu: reads ? LONGEST_PACKET : MTU,
    queues: params["queues"] as number,
    kernel: false,
    finite: reads,
    bufferBytes:
      (reads ? PCAP_READ_BYTES : 0) + (writes ? PCAP_WRITE_BYTES : 0) + stateBytes(writes ? MOST_RECORDS : 0),
    offloads: 0,
    vnetHeader: 0,
  };
}

/** "": none, whether it was left out or is empty. */
function fileOf(params: ParamValues, name: "read" | "write"): string {
  return (params[name] as string | undefined) ?? "";
}

/**
 * Opens and checks what is to be read. A pipe is read up to its first packets, and waited for.
 * @param signal ends the wait for who reads a named pipe
 * @throws SystemError, CaptureError: the file cannot be used; Error: the parameters contradict each other; the signal's
 */
export async function preparePcap(device: DeviceConfig, signal?: AbortSignal): Promise<PreparedPcap> {
  const { id, params } = device;
  const read = fileOf(params, "read");
  const write = fileOf(params, "write");
  if (read === "" && write === "") {
    throw new Error(`device "${id}": a pcap wants a file to read or a file to write, and has neither`);
  }
  const facts = pcapFacts(params);
  let source: PcapSourceOptions | undefined;
  let input: Stats | undefined;
  if (read !== "") {
    const opened = await openInput(read, `device "${id}"`, facts.queues);
    const { layer, snaplen } = opened;
    facts.layer = layer;
    if (snaplen > 0) facts.mtu = Math.min(Math.max(snaplen, MTU), LONGEST_PACKET);
    const pace = params["pace"] as PcapSourceOptions["pace"];
    source = { file: nameOf(read, "input"), layer, pace, mostRecords: write === "" ? 0 : MOST_RECORDS };
    if (opened.pipe !== undefined) source.pipe = opened.pipe;
    input = opened.stat;
  }
  const prepared: PreparedPcap = {
    facts,
    source,
    sink: undefined,
    usesStdout: write === "-",
    async create(layer, recorded, live = false) {
      if (write === "") return;
      const { fd, isPipe } = await createOutput(write, id, layer, input, signal);
      prepared.sink = {
        file: nameOf(write, "output"),
        fd,
        format: formatOfName(write),
        bufferOffset: read === "" ? 0 : PCAP_READ_BYTES,
        recorded,
        epoch: epochOffset(),
        live: live && isPipe,
      };
      if (facts.layer === 0) facts.layer = layer;
    },
    close() {
      if (source?.pipe !== undefined && source.pipe.fd !== STDIN) close(source.pipe.fd);
      const { sink } = prepared;
      if (sink !== undefined && sink.fd !== STDOUT) check(close(sink.fd), "close", sink.file);
    },
  };
  return prepared;
}

/** The name by which messages call a file. */
function nameOf(file: string, direction: "input" | "output"): string {
  return file === "-" ? `standard ${direction}` : file;
}

interface Input {
  layer: 2 | 3;
  snaplen: number;
  stat: Stats;
  pipe: { fd: number; taken: Uint8Array } | undefined;
}

async function openInput(file: string, device: string, queues: number): Promise<Input> {
  const fd = file === "-" ? STDIN : await open(file, O_RDONLY);
  let isPipe = false;
  try {
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw new SystemError("read", file, EISDIR);
    isPipe = file === "-" || !stat.isFile();
    if (isPipe && queues > 1) {
      throw new Error(
        `${device}: ${nameOf(file, "input")} can be read only once, so it cannot be spread over ${queues} queues: ` +
          "set queues: 1, or read from a file",
      );
    }
    const { layer, snaplen, taken } = await readHead(nameOf(file, "input"), fd, isPipe);
    if (!isPipe) close(fd);
    return { layer, snaplen, stat, pipe: isPipe ? { fd, taken: taken! } : undefined };
  } catch (error) {
    if (fd !== STDIN) close(fd);
    throw error;
  }
}

/** Reads a capture until the layer of its packets is known. */
async function readHead(file: string, fd: number, pipe: boolean) {
  const pages = PCAP_READ_BYTES / 65536;
  const m = new PacketMemory(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
  const window = new Window(m, { address: 0, bytes: PCAP_READ_BYTES }, { name: file, fd, pipe });
  window.keep = pipe;
  const capture = new Capture(window);
  for (;;) {
    const status = capture.head();
    if (status === STATUS.READY) break;
    if (status === STATUS.FAILED) throw capture.error;
    await sleep(PIPE_RETRY);
  }
  const taken = window.taken();
  if (pipe && taken === undefined) {
    throw new CaptureError(`${file}: has no interface block in its first ${PCAP_READ_BYTES} bytes`);
  }
  const { layer, snaplen } = capture.records!;
  return { layer: layer as 2 | 3, snaplen, taken };
}

async function createOutput(
  file: string,
  id: string,
  layer: 2 | 3,
  input: Stats | undefined,
  signal: AbortSignal | undefined,
): Promise<{ fd: number; isPipe: boolean }> {
  const name = nameOf(file, "output");
  const existing = file === "-" ? undefined : statSync(file, { throwIfNoEntry: false });
  if (existing?.isFile() && existing.dev === input?.dev && existing.ino === input.ino) {
    throw new Error(`device "${id}": ${file} is the file that it reads: writing would destroy it`);
  }
  // Appending: after a full disk cut a record off, whoever writes next goes on at the end.
  const flags = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND;
  const fd =
    file === "-" ? STDOUT : existing?.isFIFO() ? await openPipe(file, signal) : await open(file, flags);
  // A pipe that nobody empties must not hold a worker in write(2), where nothing can end it.
  const stat = fstatSync(fd);
  const isPipe = stat.isFIFO() || stat.isSocket();
  if (isPipe) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  const header = captureHeader(formatOfName(file), layer, id);
  const writer = new Writer(fd);
  if (writer.write(addressOf(header), header.length) < header.length) {
    if (fd !== STDOUT) close(fd);
    throw new SystemError("write", name, writer.errno);
  }
  return { fd, isPipe };
}

/** A named pipe has nobody to read it yet, or has by now. */
async function openPipe(file: string, signal: AbortSignal | undefined): Promise<number> {
  for (;;) {
    try {
      return await open(file, O_WRONLY | O_NONBLOCK);
    } catch (error) {
      if (!(error instanceof SystemError) || error.errno !== ENXIO) throw error;
    }
    signal?.throwIfAborted();
    await sleep(PIPE_RETRY);
  }
}

const openFile = promisify(openAsync) as (path: string, flags: number, mode: number) => Promise<number>;

/** open(2) off the main thread: a named pipe waits for its other end. */
async function open(file: string, flags: number): Promise<number> {
  try {
    return await openFile(file, flags, 0o666);
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    if (errno === undefined) throw error;
    throw new SystemError("open", file, errno, { unavailable: true });
  }
}

function epochOffset(): { high: number; low: number } {
  const offset = Math.floor((performance.timeOrigin + performance.now()) * 1e6 - clockMonotonic());
  const high = Math.floor(offset / 4294967296);
  return { high, low: offset - high * 4294967296 };
}
