// Every built-in filter, alone and in a chain, with parameters and packets at random: see chain.ts for what must hold. Here
// for a bounded number of batches; FUZZ_SECONDS=600 npm run fuzz goes on for longer. What fails says its seed:
// FUZZ_SEED=123 npm run fuzz begins with that one.
import { beforeAll, describe, expect, test } from "vitest";
import { BATCH_PACKETS } from "../../src/batches/layout.ts";
import { contradictions } from "../../src/config/contradictions/index.ts";
import { conversionsOf, layerAfter } from "../../src/config/conversions.ts";
import { builtinManifests } from "../../src/filters/catalog.ts";
import { parseParams } from "../../src/params/parse.ts";
import { FuzzChain, type Link, loadAll, loadCore, type Module } from "./chain.ts";
import { Chance } from "./chance.ts";
import { randomPacket } from "./packets.ts";
import { randomParams } from "./params.ts";

const SECONDS = Number(process.env["FUZZ_SECONDS"] ?? 0);
const FIRST_SEED = Number(process.env["FUZZ_SEED"] ?? 1);
/** Parameter sets of each test when no time is given, and batches that each of them sees. */
const SETS = 12;
const BATCHES = 12;
/** Tries to find parameters that go together: not all combinations do. */
const TRIES = 30;

const manifests = builtinManifests();
const timeout = 60_000 + 2_000 * SECONDS;
let modules: Map<string, Module>;
let core: WebAssembly.Module;
beforeAll(async () => {
  modules = new Map((await loadAll(manifests)).map((module) => [module.manifest.kind, module]));
  core = await loadCore();
});

/** A chain of these filters, or undefined where no parameters were found that they take. @param wanted layer, if they take it */
function open(kinds: string[], wanted: 2 | 3, chance: Chance) {
  for (let i = 0; i < TRIES; i++) {
    const links = kinds.map((kind): Link | undefined => {
      const module = modules.get(kind) as Module;
      const parsed = parseParams(module.manifest.params, randomParams(module.manifest.params, chance));
      if ("problems" in parsed || contradictions(kind, parsed.value).length > 0) return undefined;
      return { ...module, values: parsed.value };
    });
    if (links.includes(undefined)) continue;
    const [first] = links as Link[];
    const only = links.length === 1 ? conversionsOf(first.manifest, first.values)?.[0] : undefined;
    const layer = only?.from ?? wanted;
    try {
      return { chain: new FuzzChain(core, fitting(links as Link[], layer), layer), layer };
    } catch (error) {
      // A filter that cannot do what it was told says so before any packet comes.
      if (!(error instanceof WebAssembly.RuntimeError)) throw error;
    }
  }
  return undefined;
}

/** Those that can follow each other: one that wants another layer than packets have there is left out. */
function fitting(links: Link[], layer: 2 | 3): Link[] {
  let at = layer;
  return links.filter(({ manifest, values }) => {
    const after = layerAfter({ manifest, params: values }, at);
    at = after ?? at;
    return after !== undefined;
  });
}

/** @param kindsOf the filters of a set, by chance */
function fuzz(kindsOf: (chance: Chance) => string[]): {
  chains: number;
  sent: number;
  passed: number;
  held: number;
} {
  const seen = { chains: 0, sent: 0, passed: 0, held: 0 };
  const end = performance.now() + (SECONDS * 1000) / (manifests.length + 1);
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SETS || performance.now() < end; seed++) {
    const chance = new Chance(seed);
    const kinds = kindsOf(chance);
    const opened = open(kinds, chance.once(3) ? 2 : 3, chance);
    if (opened === undefined) continue;
    const { chain, layer } = opened;
    seen.chains++;
    for (let batch = 0; batch < BATCHES; batch++) {
      const packets = Array.from({ length: chance.between(1, BATCH_PACKETS) }, () =>
        randomPacket(chance, layer),
      );
      try {
        seen.passed += chain.send(packets, chance.of([0, 0, 1e-5, 0.05, 1, 40]));
        seen.held += chain.held;
      } catch (error) {
        throw new Error(`seed ${seed}, batch ${batch}, ${kinds.join(" -> ")}: ${(error as Error).message}`);
      }
      seen.sent += packets.length;
    }
  }
  return seen;
}

describe("no trap, no packet lost or outside its slot, nothing else written", () => {
  test.each(manifests.map(({ kind }) => kind))(
    "%s alone",
    (kind) => {
      const { chains, sent, passed, held } = fuzz(() => [kind]);
      expect(chains).toBeGreaterThan(SETS / 2);
      expect(sent).toBeGreaterThan(1000);
      expect(passed + held).toBeGreaterThan(0);
    },
    timeout,
  );
  test(
    "half of them in a chain, which and in what order by chance",
    () => {
      const all = manifests.map(({ kind }) => kind);
      const { chains, sent, passed } = fuzz((chance) => {
        const order = all.map((kind) => [chance.below(1000), kind] as const);
        // Each may refuse the parameters that chance has for it.
        return order
          .sort(([a], [b]) => a - b)
          .slice(0, all.length >> 1)
          .map(([, kind]) => kind);
      });
      expect(chains).toBeGreaterThan(SETS / 2);
      expect(sent).toBeGreaterThan(1000);
      expect(passed).toBeGreaterThan(0);
    },
    timeout,
  );
});

test("the same seed makes the same packets, so what fails can be run again", () => {
  const bytes = (seed: number) => {
    const chance = new Chance(seed);
    return Array.from({ length: 50 }, () => Buffer.from(randomPacket(chance, 3).bytes).toString("hex"));
  };
  expect(bytes(7)).toEqual(bytes(7));
  expect(bytes(7)).not.toEqual(bytes(8));
});
