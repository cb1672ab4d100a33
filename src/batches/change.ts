/**
 * What a reload changes, for the workers to read. At PIPELINE_CONTROL.CHANGES: a record for each filter of each worker, in the order
 * of the plan, u32 each. A worker goes over to it between two rounds, and says so in WORKER_CONTROL.GENERATION.
 */
export const CHANGE = {
  /** Address of the filter's parameters; 0: it has the same as before. */
  PARAMS: 0,
  PARAMS_BYTES: 4,
  PREPARED_STATE: 8,
  /** Where it counts on this worker from now on, and how many counters there are. */
  COUNTERS: 12,
  COUNTER_COUNT: 16,
  /** For each counter its number before plus 1, or 0: it is new (u32 each). */
  KEPT: 20,
  /** Offsets in the parameters at which addresses stand (u32 each), and how many; for a memory of its own. */
  REFERENCES: 24,
  REFERENCE_COUNT: 28,
  SIZE: 32,
} as const;
