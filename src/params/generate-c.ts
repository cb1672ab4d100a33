/**
 * The params.h of a filter in C: what generate.ts makes for AssemblyScript, in macros and inline functions. Numbers are
 * functions that return them; what has parts (a prefix, a list) is a pointer to its bytes, drawn in layout.ts.
 */
import type { Generated } from "./generate.ts";
import { recordLayout } from "./layout.ts";
import type { ParamType } from "./types.ts";

/** C types of values that are one number. */
const NUMBERS: Partial<Record<ParamType["kind"], string>> = {
  bool: "bool",
  u8: "uint8_t",
  code: "uint8_t",
  enum: "uint8_t",
  output: "uint8_t",
  u16: "uint16_t",
  port: "uint16_t",
  u32: "uint32_t",
  i32: "int32_t",
  u64: "uint64_t",
  duration: "uint64_t",
  size: "uint64_t",
  f64: "double",
};

export function generateHeader({ kind, params, outputs, counters, logs = [] }: Generated): string {
  const lines = [`/* Generated from the filter.yaml of ${JSON.stringify(kind)}. Do not edit. */`];
  for (const { spec, offset } of recordLayout(params).fields) {
    const name = `param_${snake(spec.name)}(void)`;
    const type = NUMBERS[spec.type.kind];
    const at = `pf_context->params + ${offset}`;
    lines.push(
      `/* ${spec.doc.replaceAll("*/", "* /")} */`,
      type === undefined
        ? `static inline const uint8_t *${name} { return ${at}; } /* ${spec.type.kind}: src/params/layout.ts */`
        : `static inline ${type} ${name} { return *(const ${type} *)(${at}); }`,
    );
    if (spec.type.kind === "enum") {
      spec.type.values.forEach((word, i) => {
        lines.push(`#define ${upper(spec.name)}_${upper(word)} ${i}`);
      });
    }
  }
  [{ name: "next" }, { name: "drop" }, ...outputs].forEach(({ name }, i) => {
    lines.push(`#define OUTPUT_${upper(name)} ${i}`);
  });
  counters.forEach(({ name }, i) => {
    lines.push(`#define COUNTER_${upper(name)} ${i}`);
  });
  logs.forEach(({ name }, i) => {
    lines.push(`#define LOG_${upper(name)} ${i}`);
  });
  return `${lines.join("\n")}\n`;
}

function snake(name: string): string {
  return name.replaceAll("-", "_");
}

function upper(name: string): string {
  return snake(name).toUpperCase();
}
