/** Why a filter trapped last, as text in the pipeline's memory: the worker writes it, the report reads it. */
import { HOST_COUNTER } from "./counters.ts";
import type { PacketMemory } from "./memory.ts";

/** @param host InstancePlan.host @param error what was caught, or the reason itself */
export function writeReason(m: PacketMemory, host: number, error: unknown): void {
  const text = reasonOf(error);
  const length = Math.min(text.length, HOST_COUNTER.REASON_BYTES);
  const at = host + HOST_COUNTER.REASON;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    m.u8[at + i] = code < 32 || code > 126 ? 63 : code;
  }
  Atomics.store(m.u32, (host + HOST_COUNTER.REASON_LENGTH) >>> 2, length);
}

/** "unreachable (function 3, byte 0x1f2)": where in the module, if the engine says so. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const frame = /wasm-function\[(\d+)\]:(0x[0-9a-f]+)/.exec(error.stack ?? "");
  return frame === null ? error.message : `${error.message} (function ${frame[1]}, byte ${frame[2]})`;
}

/** @returns "" when it never trapped */
export function readReason(m: PacketMemory, host: number): string {
  const length = Atomics.load(m.u32, (host + HOST_COUNTER.REASON_LENGTH) >>> 2);
  const at = host + HOST_COUNTER.REASON;
  return String.fromCharCode(...m.u8.subarray(at, at + Math.min(length, HOST_COUNTER.REASON_BYTES)));
}
