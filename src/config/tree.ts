/** A document as the checker sees it: maps, lists and scalars, each with its place. Aliases share one node. */
import type { Span } from "./source.ts";

export type Scalar = string | number | boolean | null;

export interface ScalarNode {
  kind: "scalar";
  value: Scalar;
  span: Span;
}
export interface ListNode {
  kind: "list";
  items: Node[];
  span: Span;
}
export interface MapNode {
  kind: "map";
  entries: Entry[];
  span: Span;
  /** What plain() makes of it, where that takes less than the entries do. */
  plain?(): Record<string, unknown>;
}
export interface Entry {
  key: string;
  keySpan: Span;
  value: Node;
}
export type Node = ScalarNode | ListNode | MapNode;

export function entry(map: MapNode, key: string): Entry | undefined {
  return map.entries.find((e) => e.key === key);
}

/** Plain JavaScript values; maps have no prototype, so that a key named __proto__ is a key. */
export function plain(node: Node): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "list") return node.items.map(plain);
  if (node.plain) return node.plain();
  const object = Object.create(null) as Record<string, unknown>;
  for (const { key, value } of node.entries) object[key] = plain(value);
  return object;
}

/** Where a path of keys and indices leads: the value, or the last key on the way. As far as the path goes. */
export function spanAt(root: Node, path: readonly (string | number)[], atKey = false): Span {
  let node = root;
  let span = root.span;
  for (const [i, step] of path.entries()) {
    if (node.kind === "map") {
      const found = entry(node, String(step));
      if (!found) return span;
      if (atKey && i === path.length - 1) return found.keySpan;
      node = found.value;
    } else if (node.kind === "list" && typeof step === "number" && node.items[step]) {
      node = node.items[step];
    } else {
      return span;
    }
    span = node.span;
  }
  return span;
}

/** "a map", "a list", or the scalar itself in quotes: for messages about a node of the wrong kind. */
export function describe(node: Node): string {
  if (node.kind !== "scalar") return `a ${node.kind}`;
  return node.value === null ? "nothing" : JSON.stringify(node.value);
}
