// State with a layout of types: an @unmanaged class is the memory that it lies over, field by field, each at a multiple of its
// own size. Nothing is allocated, and offsetof<Class>() is how many bytes it takes. Fields of shared state that change are read
// and written by atomics at offsetof<Class>("field"), or under a lock.
//
// Example: state: { worker: 16, shared: 16 }
//
//   @unmanaged class Own { packets: u64; last: u64; }
//   @unmanaged class Common { lock: u32; open: u32; packets: u64; }
//   export function packet(p: Packet): Output {
//     const own = workerStateAs<Own>();
//     own.packets++;
//     own.last = now();
//     const common = sharedStateAs<Common>();
//     atomic.add<u64>(changetype<usize>(common), 1, offsetof<Common>("packets"));
//     return OUTPUT_NEXT;
//   }

import { sharedState, sharedStateBytes, workerState, workerStateBytes } from "../abi/context";

/**
 * This worker's own state as a class. It traps when filter.yaml's `state.worker` has no room for it.
 * @param offset bytes from the state's beginning, a multiple of 8
 */
export function workerStateAs<T>(offset: u32 = 0): T {
  if (offset + offsetof<T>() > workerStateBytes()) unreachable();
  return changetype<T>(workerState() + offset);
}

/**
 * The state that all workers share as a class. It traps when filter.yaml's `state.shared` has no room for it.
 * @param offset bytes from the state's beginning, a multiple of 8
 */
export function sharedStateAs<T>(offset: u32 = 0): T {
  if (offset + offsetof<T>() > sharedStateBytes()) unreachable();
  return changetype<T>(sharedState() + offset);
}
