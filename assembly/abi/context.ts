// What a filter instance knows beside its packets: time, chance, its worker, its counters, parameters and state.
// The host's worker owns the context and writes it before each batch; layout.ts has its layout.
//
// Example: one packet in a hundred, counted.
//
//   if (randomBelow(100) != 0) return OUTPUT_NEXT;
//   counter(Counters.sampled).add(1);

import {
  CONTEXT_COUNTERS,
  CONTEXT_DEVICE_COUNT,
  CONTEXT_DEVICES,
  CONTEXT_FREE,
  CONTEXT_NOW,
  CONTEXT_OUTPUTS,
  CONTEXT_PARAMS,
  CONTEXT_PREPARED_STATE,
  CONTEXT_RANDOM,
  CONTEXT_SHARED_STATE,
  CONTEXT_SHARED_STATE_BYTES,
  CONTEXT_WALL_CLOCK,
  CONTEXT_WORKER,
  CONTEXT_WORKER_STATE,
  CONTEXT_WORKER_STATE_BYTES,
  CONTEXT_WORKERS,
  DEVICE_INFO_LAYER,
  DEVICE_INFO_MTU,
  DEVICE_INFO_SIZE,
} from "./layout";

/** Address of this instance's context; 0 before init. @internal */
export let contextAddress: usize = 0;
// Apart from the context, so that the generated parameter readers work in workerStateSize(params) too.
let params: usize = 0;

/** For the generated entry only: the context that the accessors below read. @internal */
export function setContext(context: i32): void {
  contextAddress = <usize>context;
  params = <usize>load<u32>(contextAddress, CONTEXT_PARAMS);
}

/** For the generated entry only: where parameters lie while there is no context yet. @internal */
export function setParams(address: i32): void {
  params = <usize>address;
}

/**
 * The time by CLOCK_MONOTONIC at the start of this batch, the same clock on every worker. Never fails.
 * @returns ns, never 0, never less than before
 * @example
 *   if (now() - load<u64>(workerState()) < 1_000_000) return OUTPUT_DROP; // less than a millisecond later
 */
export function now(): u64 {
  return load<u64>(contextAddress, CONTEXT_NOW);
}

/**
 * The time of day at the start of this batch. Never fails; it may jump when the machine's clock is set.
 * @returns ns since 1970-01-01 UTC
 * @example
 *   const hour = (wallClock() / 3_600_000_000_000) % 24;
 *   if (hour < 8) return OUTPUT_DROP;
 */
export function wallClock(): u64 {
  return load<u64>(contextAddress, CONTEXT_WALL_CLOCK);
}

/**
 * Which worker this instance is on. Never fails.
 * @returns from 0 to workers() - 1
 * @example
 *   p.mark = worker() + 1;
 */
export function worker(): u32 {
  return load<u32>(contextAddress, CONTEXT_WORKER);
}

/**
 * How many workers the pipeline has. Never fails.
 * @returns 1 or more
 * @example
 *   const share = 1000 / workers(); // of a limit for all of them
 */
export function workers(): u32 {
  return load<u32>(contextAddress, CONTEXT_WORKERS);
}

// splitmix64's constants. To the linter they are JavaScript's doubles, to the compiler u64.
const GOLDEN_GAMMA: u64 = 0x9e3779b97f4a7c15;
const MIX_1: u64 = 0xbf58476d1ce4e5b9;
const MIX_2: u64 = 0x94d049bb133111eb;

/**
 * 64 random bits: splitmix64 (Steele, Lea, Flood 2014), seeded by the host. Not for secrets. Never fails.
 * @example
 *   const seed = random();
 */
export function random(): u64 {
  let z = load<u64>(contextAddress, CONTEXT_RANDOM) + GOLDEN_GAMMA;
  store<u64>(contextAddress, z, CONTEXT_RANDOM);
  z = (z ^ (z >> 30)) * MIX_1;
  z = (z ^ (z >> 27)) * MIX_2;
  return z ^ (z >> 31);
}

/**
 * A uniform number, by multiplication (Lemire 2019); bias below limit / 2^32. Never fails.
 * @param limit more than 0
 * @returns 0 to limit - 1
 */
export function randomBelow(limit: u32): u32 {
  return <u32>(((random() >> 32) * <u64>limit) >> 32);
}

/**
 * Address of the encoded parameters: filters read them through the generated "./params". Never fails.
 * @example
 *   if (paramsAddress() == 0) unreachable();
 */
export function paramsAddress(): usize {
  return params;
}

/**
 * Address of this worker's own state, `state.worker` of filter.yaml. Zeroed by the host, also when the instance is made anew after a
 * trap. Never fails.
 * @returns a multiple of 64; without state, nothing may be read there
 * @example
 *   store<u64>(workerState(), now());
 */
export function workerState(): usize {
  return <usize>load<u32>(contextAddress, CONTEXT_WORKER_STATE);
}

/**
 * How much of it there is. Never fails.
 * @returns bytes; 0: filter.yaml has no `state.worker`
 * @example
 *   if (workerStateBytes() < 16) unreachable();
 */
export function workerStateBytes(): u32 {
  return load<u32>(contextAddress, CONTEXT_WORKER_STATE_BYTES);
}

/**
 * Address of the state that all workers share, `state.shared` of filter.yaml: zeroed by the host before initShared(). Others read and
 * write it at the same time: atomics, HashTable or lock(). Never fails.
 * @returns a multiple of 64; without state, nothing may be read there
 * @example
 *   const packets = atomic.add<u64>(sharedState(), 1);
 */
export function sharedState(): usize {
  return <usize>load<u32>(contextAddress, CONTEXT_SHARED_STATE);
}

/**
 * How much of it there is. Never fails.
 * @returns bytes; 0: filter.yaml has no `state.shared`
 * @example
 *   memory.fill(sharedState(), 0, sharedStateBytes());
 */
export function sharedStateBytes(): u32 {
  return load<u32>(contextAddress, CONTEXT_SHARED_STATE_BYTES);
}

/**
 * Address of what prepare() has made of the parameters, `state.prepared` of filter.yaml: all workers read it, nobody writes it. When the
 * pipeline is reloaded with other parameters it is another one, made anew: reload() says so. Never fails.
 * @returns a multiple of 64; without state, nothing may be read there
 * @example
 *   const routes = load<u32>(preparedState());
 */
export function preparedState(): usize {
  return <usize>load<u32>(contextAddress, CONTEXT_PREPARED_STATE);
}

/** One of this worker's counters of this filter: counter() gives it. */
@unmanaged
export class Counter {
  /**
   * Counts up. Never fails; 2^64 are not reached.
   * @param n how many
   */
  @inline add(n: u64): void {
    const at = changetype<usize>(this);
    store<u64>(at, load<u64>(at) + n);
  }
}

/**
 * A counter of this filter on this worker; the report has the sum over the workers.
 * @param index its place among `counters` of filter.yaml, elements of `each` lists included: Counters.NAME; it is not checked
 */
export function counter(index: u32): Counter {
  return changetype<Counter>(<usize>load<u32>(contextAddress, CONTEXT_COUNTERS) + ((<usize>index) << 3));
}

/**
 * How many outputs this filter has, next and drop included. Never fails.
 * @example
 *   if (p.mark >= outputs()) return OUTPUT_DROP;
 */
export function outputs(): u32 {
  return load<u32>(contextAddress, CONTEXT_OUTPUTS);
}

/** Address of the worker's free list (a batch used as a stack). @internal */
export function freeList(): usize {
  return <usize>load<u32>(contextAddress, CONTEXT_FREE);
}

/**
 * How many devices the pipeline has: they are numbered from 0. Never fails.
 * @example
 *   if (p.device + 1 < devices()) p.mark = 1;
 */
export function devices(): u32 {
  return load<u32>(contextAddress, CONTEXT_DEVICE_COUNT);
}

function deviceInfo(device: u8): usize {
  return <usize>load<u32>(contextAddress, CONTEXT_DEVICES) + <usize>device * DEVICE_INFO_SIZE;
}

/**
 * The largest IP packet that a device takes.
 * @param device its number, below devices(): not checked; Packet.device is the one that the packet came from
 * @returns bytes, without an Ethernet header; 0: it takes any, as one of kind `discard`
 * @example
 *   if (p.length > deviceMtu(p.device)) return OUTPUT_DROP;
 */
export function deviceMtu(device: u8): u32 {
  return load<u32>(deviceInfo(device), DEVICE_INFO_MTU);
}

/**
 * The largest IP packet that every device of the pipeline takes. One of kind `discard` takes any, and does not
 * count. Never fails.
 * @returns bytes, without an Ethernet header; 65535, what an IP packet can be, where no device has a limit
 * @example
 *   if (p.length > smallestMtu()) return OUTPUT_DROP;
 */
export function smallestMtu(): u32 {
  let smallest: u32 = 0xffff;
  for (let device: u32 = 0; device < devices(); device++) {
    const mtu = deviceMtu(<u8>device);
    if (mtu != 0) smallest = min(smallest, mtu);
  }
  return smallest;
}

/**
 * What packets of a device begin with.
 * @param device its number, below devices(): not checked
 * @returns 2: the Ethernet header; 3: the IP header
 * @example
 *   const isFrame = deviceLayer(p.device) == 2;
 */
export function deviceLayer(device: u8): u32 {
  return load<u32>(deviceInfo(device), DEVICE_INFO_LAYER);
}
