// Filters in C: when they are compiled again, and what is said of what does not compile.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { buildFilter } from "../../src/filters/build.ts";

const hasClang = ["clang", "wasm-ld"].every((tool) => spawnSync(tool, ["--version"]).error === undefined);
const home = mkdtempSync(join(tmpdir(), "pf-c-"));
vi.stubEnv("XDG_CACHE_HOME", join(home, "cache"));
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(home, { recursive: true });
});

const folder = join(home, "mine");
mkdirSync(folder);
const build = (source: string) => {
  writeFileSync(join(folder, "filter.c"), source);
  return buildFilter(folder, "", "memory");
};
const FILTER = `#include "../shared.h"
#include "pktflow.h"
static uint8_t all(struct pf_packet *p) { (void)p; return SHARED; }
PF_PACKET_FILTER(all)
`;

describe.skipIf(!hasClang)("in C (skipped without clang and lld)", () => {
  test("a header from elsewhere is part of what the module is made of", async () => {
    writeFileSync(join(home, "shared.h"), "#define SHARED 0\n");
    expect((await build(FILTER)).cached).toBe(false);
    expect((await build(FILTER)).cached).toBe(true);
    writeFileSync(join(home, "shared.h"), "#define SHARED 1\n");
    expect((await build(FILTER)).cached).toBe(false);
    expect((await build(FILTER)).cached).toBe(true);
  });
  test.each([
    ["#include <stdio.h>\n", /there is no libc: pktflow\.h/],
    ["#include <stdlib.h>\n", /there is no libc/],
    [
      "void *malloc(unsigned long n);\nvoid *kept; void keep(void) { kept = malloc(8); }\n",
      /there is no allocator/,
    ],
    ['int printf(const char *f, ...);\nvoid say(void) { printf("a"); }\n', /pf_log\(\)/],
  ])("%s is answered with what there is instead", async (code, advice) => {
    const used = code
      .replaceAll("void keep(", 'PF_EXPORT("k") void keep(')
      .replaceAll("void say(", 'PF_EXPORT("s") void say(');
    await expect(
      build(`#include "pktflow.h"\n${used}${FILTER.replace('#include "../shared.h"', "#define SHARED 0")}`),
    ).rejects.toThrow(advice);
  });
});
