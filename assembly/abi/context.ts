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

/** Address of this instance's context; 0 before init. */
export let contextAddress: usize = 0;
// Apart from the context, so that the generated parameter readers work in workerStateSize(params) too.
let params: usize = 0;

/** For the generated entry only: the context that the accessors below read. */
export function setContext(context: i32): void {
  contextAddress = <usize>context;
  params = <usize>load<u32>(contextAddress, CONTEXT_PARAMS);
}

/** For the generated entry only: where parameters lie while there is no context yet. */
export function setParams(address: i32): void {
  params = <usize>address;
}

/** CLOCK_MONOTONIC in ns at the start of this batch, the same clock on every worker. */
export function now(): u64 {
  return load<u64>(contextAddress, CONTEXT_NOW);
}

/** ns since the epoch at the start of this batch. */
export function wallClock(): u64 {
  return load<u64>(contextAddress, CONTEXT_WALL_CLOCK);
}

/** Index of this worker, from 0. */
export function worker(): u32 {
  return load<u32>(contextAddress, CONTEXT_WORKER);
}

export function workers(): u32 {
  return load<u32>(contextAddress, CONTEXT_WORKERS);
}

// splitmix64's constants. To the linter they are JavaScript's doubles, to the compiler u64.
const GOLDEN_GAMMA: u64 = 0x9e3779b97f4a7c15;
const MIX_1: u64 = 0xbf58476d1ce4e5b9;
const MIX_2: u64 = 0x94d049bb133111eb;

/** 64 random bits: splitmix64 (Steele, Lea, Flood 2014), seeded by the host. Not for secrets. */
export function random(): u64 {
  let z = load<u64>(contextAddress, CONTEXT_RANDOM) + GOLDEN_GAMMA;
  store<u64>(contextAddress, z, CONTEXT_RANDOM);
  z = (z ^ (z >> 30)) * MIX_1;
  z = (z ^ (z >> 27)) * MIX_2;
  return z ^ (z >> 31);
}

/** A uniform number below `limit` (which is not 0), by multiplication (Lemire 2019); bias below limit / 2^32. */
export function randomBelow(limit: u32): u32 {
  return <u32>(((random() >> 32) * <u64>limit) >> 32);
}

/** Address of the encoded parameters; filters read them through the generated "./params". */
export function paramsAddress(): usize {
  return params;
}

/** Address of this worker's private state: zeroed by the host, kept when the instance is made anew. */
export function workerState(): usize {
  return <usize>load<u32>(contextAddress, CONTEXT_WORKER_STATE);
}

export function workerStateBytes(): u32 {
  return load<u32>(contextAddress, CONTEXT_WORKER_STATE_BYTES);
}

/** Address of the state that all workers share: zeroed by the host before initShared. Use atomics. */
export function sharedState(): usize {
  return <usize>load<u32>(contextAddress, CONTEXT_SHARED_STATE);
}

export function sharedStateBytes(): u32 {
  return load<u32>(contextAddress, CONTEXT_SHARED_STATE_BYTES);
}

/** One of this worker's counters of this filter. */
@unmanaged
export class Counter {
  @inline add(n: u64): void {
    const at = changetype<usize>(this);
    store<u64>(at, load<u64>(at) + n);
  }
}

/** The counter at `index` in the manifest's order, elements of `each` lists included. The index is not checked. */
export function counter(index: u32): Counter {
  return changetype<Counter>(<usize>load<u32>(contextAddress, CONTEXT_COUNTERS) + ((<usize>index) << 3));
}

/** How many outputs this filter has, next and drop included. */
export function outputs(): u32 {
  return load<u32>(contextAddress, CONTEXT_OUTPUTS);
}

/** Address of the worker's free list (a batch used as a stack). */
export function freeList(): usize {
  return <usize>load<u32>(contextAddress, CONTEXT_FREE);
}

/** How many devices the pipeline has: they are numbered from 0. */
export function devices(): u32 {
  return load<u32>(contextAddress, CONTEXT_DEVICE_COUNT);
}

function deviceInfo(device: u8): usize {
  return <usize>load<u32>(contextAddress, CONTEXT_DEVICES) + <usize>device * DEVICE_INFO_SIZE;
}

/** MTU of the device with the index that Packet.device holds. */
export function deviceMtu(device: u8): u32 {
  return load<u32>(deviceInfo(device), DEVICE_INFO_MTU);
}

/** 2: its packets start with the Ethernet header; 3: with the IP header. */
export function deviceLayer(device: u8): u32 {
  return load<u32>(deviceInfo(device), DEVICE_INFO_LAYER);
}
