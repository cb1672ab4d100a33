// Port forwarding (`forward`): mappings that are there from the beginning, have no end, and let anyone in.

import { Mapping as Dependence, params } from "./params";
import { insideKey, listIndex, mappings, poolOf } from "./settings";

/** Keys that no inside endpoint has: of mappings that lead to several, or to one that has another already. */
const SHARED: u64 = (<u64>1) << 62;

// What target() found.
export let forwardKey: u64 = 0;
/** As in packets. */
export let forwardAddress: u32 = 0;
export let forwardPort: u16 = 0;
/** The source changes, too. */
export let forwardIsTwice: bool = false;

/** Makes the mappings, once, before the workers start. Where two rules want one outside port, the first has it. */
export function formatForwards(): void {
  for (let i = 0; i < params.forward.length; i++) {
    const rule = params.forward.at(i);
    const outside = ruleOutside(i);
    // No packet to another address ever comes here: better that the pipeline does not start.
    if (outside < 0) unreachable();
    for (let j = 0; j < rule.proto.length; j++) {
      const pool = poolOf(<u32>outside, rule.proto.at(j));
      for (let port: u32 = rule.port.first; port <= <u32>rule.port.last; port++)
        make(i, rule.proto.at(j), pool, port);
    }
  }
}

function make(rule: i32, protocol: u8, pool: u32, port: u32): void {
  const counts = port >= <u32>params.ports.first && port <= <u32>params.ports.last;
  if (!mappings.pool(pool).reserve(port, counts)) return;
  const own = endpointKey(rule, protocol, port);
  const key = own != 0 && isFree(own) ? own : sharedKey(pool, port);
  const bucket = mappings.lock(key);
  const mapping = mappings.make(bucket, key, pool, <u16>port);
  // One that stays when its last session ends.
  if (changetype<usize>(mapping) != 0) mapping.sessions = 1;
  mappings.unlock(bucket);
}

function isFree(key: u64): bool {
  const bucket = mappings.lock(key);
  const found = changetype<usize>(mappings.find(bucket, key));
  mappings.unlock(bucket);
  return found == 0;
}

/**
 * Whom a packet from outside is for, by the rules: forwardKey is its mapping's, forwardAddress and forwardPort the inside end.
 * @param port host order; @param remote, remotePort as in the packet: of several targets each gets one
 * @returns false: no rule says
 */
export function target(protocol: u8, outside: u32, port: u32, remote: u32, remotePort: u32): bool {
  for (let i = 0; i < params.forward.length; i++) {
    const rule = params.forward.at(i);
    if (port < <u32>rule.port.first || port > <u32>rule.port.last || ruleOutside(i) != <i32>outside) continue;
    if (!isOf(i, protocol)) continue;
    const count = <u32>rule.to.length;
    let chosen: u32 = 0;
    if (count > 1 && params.filtering != Dependence.endpointIndependent) {
      const whole = params.filtering == Dependence.addressAndPortDependent ? remotePort : 0;
      const mixed = (bswap<u32>(remote) ^ (whole * 0x85ebca6b)) * 0x9e3779b1;
      chosen = <u32>((<u64>mixed * <u64>count) >> 32);
    }
    forwardAddress = bswap<u32>(rule.to.at(chosen));
    forwardPort = bswap<u16>(<u16>insidePort(i, port));
    forwardIsTwice = rule.twiceNat;
    const pool = poolOf(outside, protocol);
    forwardKey = endpointKey(i, protocol, port);
    if (forwardKey == 0 || !isAt(forwardKey, (pool << 16) | port)) forwardKey = sharedKey(pool, port);
    return true;
  }
  return false;
}

function isAt(key: u64, outside: u32): bool {
  const bucket = mappings.lock(key);
  if (bucket == 0) return false;
  const mapping = mappings.find(bucket, key);
  const isIt = changetype<usize>(mapping) != 0 && mapping.outside == outside;
  mappings.unlock(bucket);
  return isIt;
}

function isOf(rule: i32, protocol: u8): bool {
  const protocols = params.forward.at(rule).proto;
  for (let j = 0; j < protocols.length; j++) if (protocols.at(j) == protocol) return true;
  return false;
}

function ruleOutside(rule: i32): i32 {
  const said = params.forward.at(rule).outside;
  return said.length == 0 ? 0 : listIndex(bswap<u32>(said.at(0)));
}

/** Host order; past 65535 it begins at 0 again. */
function insidePort(rule: i32, port: u32): u32 {
  const said = params.forward.at(rule);
  return said.toPort.length == 0 ? port : (<u32>said.toPort.at(0) + port - <u32>said.port.first) & 0xffff;
}

/** The key that the inside endpoint's own mapping has, so that it is this one; 0: it is not one endpoint. */
function endpointKey(rule: i32, protocol: u8, port: u32): u64 {
  const to = params.forward.at(rule).to;
  if (to.length != 1) return 0;
  return insideKey(protocol, bswap<u32>(to.at(0)), <u32>bswap<u16>(<u16>insidePort(rule, port)));
}

function sharedKey(pool: u32, port: u32): u64 {
  return SHARED | ((<u64>pool) << 16) | <u64>port;
}
