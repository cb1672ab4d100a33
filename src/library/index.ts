/** What `import ... from "pktflow"` gives. */

export type { Diagnostic } from "../config/diagnostics.ts";
export { ConfigError } from "../config/diagnostics.ts";
export type { OnTrap, Pipeline } from "../config/types.ts";
export type { LogEntry } from "../control/logs.ts";
export type {
  Conservation,
  FilterReport,
  PathReport,
  QueueReport,
  Report,
  Traffic,
} from "../control/report.ts";
export { conservation } from "../control/report.ts";
export { FilterError } from "../filters/error.ts";
export { SystemError } from "../sys/errno.ts";
export { NotReloadable, type Reloaded } from "../workers/reload.ts";
export type { DeviceKinds, FilterKinds } from "./kinds.ts";
export { MemoryDevice, type SendOptions } from "./memory-device.ts";
export * from "./pipeline.ts";
export { type Running, type RunOptions, run } from "./run.ts";
