/** `--set devices.lan.queues=4`: one value of the file replaced, and checked as if it had stood in the file. */
import { closest } from "../params/suggest.ts";
import type { Diagnostics } from "./diagnostics.ts";
import { readDocument } from "./document.ts";
import { Source, type Span } from "./source.ts";
import type { Node, Scalar } from "./tree.ts";
import type { Environment } from "./variables.ts";

/**
 * Applies the options in order and returns the changed tree; `root` is left as it is. Values are YAML. The last key of
 * a path may be new; what leads to it must exist. Diagnostics show the options as the lines of a file called --set.
 */
export function applyOverrides(
  root: Node,
  options: string[],
  environment: Environment,
  diagnostics: Diagnostics,
): Node {
  const source = new Source("--set", options.join("\n"));
  let result = root;
  let start = 0;
  for (const option of options) {
    result = applyOverride(result, { source, start, end: start + option.length }, environment, diagnostics);
    start += option.length + 1;
  }
  return result;
}

function applyOverride(root: Node, option: Span, environment: Environment, diagnostics: Diagnostics): Node {
  const { source, start, end } = option;
  const text = source.text.slice(start, end);
  const equals = text.indexOf("=");
  if (equals <= 0) {
    diagnostics.error(option, "bad-set", "--set wants PATH=VALUE, as in devices.lan.queues=4");
    return root;
  }
  const place = { source, start: start + equals + 1, end };
  const scalar = (value: Scalar): Node => ({ kind: "scalar", value, span: place });
  // To YAML a lone dash begins a list; to whoever types it, it is standard input or output.
  const dash = text.slice(equals + 1) === "-";
  const value = dash ? scalar("-") : (readDocument(source, environment, diagnostics, place) ?? scalar(null));
  const steps: { key: string; span: Span }[] = [];
  let at = start;
  for (const key of text.slice(0, equals).split(".")) {
    steps.push({ key, span: { source, start: at, end: at + key.length } });
    at += key.length + 1;
  }
  return replace(root, steps, value, diagnostics);
}

function replace(
  node: Node,
  steps: { key: string; span: Span }[],
  value: Node,
  diagnostics: Diagnostics,
): Node {
  if (steps.length === 0) return value;
  const [{ key, span }, ...rest] = steps;
  const wrong = (message: string, suggestion?: string): Node => {
    diagnostics.error(span, "bad-set", message, suggestion);
    return node;
  };
  if (node.kind === "map") {
    const found = node.entries.find((entry) => entry.key === key);
    if (!found && rest.length > 0) {
      return wrong(
        `there is no ${JSON.stringify(key)} to set something in`,
        closest(
          key,
          node.entries.map((e) => e.key),
        ),
      );
    }
    if (!found)
      return { kind: "map", span: node.span, entries: [...node.entries, { key, keySpan: span, value }] };
    const changed = { ...found, value: replace(found.value, rest, value, diagnostics) };
    return {
      kind: "map",
      span: node.span,
      entries: node.entries.map((entry) => (entry === found ? changed : entry)),
    };
  }
  if (node.kind === "list") {
    const index = /^\d+$/.test(key) ? Number(key) : -1;
    if (!(index in node.items)) return wrong(`the list has ${node.items.length} elements, numbered from 0`);
    return {
      ...node,
      items: node.items.map((item, i) => (i === index ? replace(item, rest, value, diagnostics) : item)),
    };
  }
  return wrong(`${JSON.stringify(key)} cannot be set in a value that is no map and no list`);
}
