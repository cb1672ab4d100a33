// A filter whose code does not end, or traps, outside of a pipeline: each command says so, and listens to signals meanwhile.
import { mkdirSync, writeFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { loadManifest } from "../../src/config/manifest.ts";
import { loadFilter } from "../../src/filters/library.ts";
import { Hang, Trial } from "../../src/workers/trial.ts";
import { Pktflow, pktflow, TemporaryFolder, until } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
process.env["XDG_CACHE_HOME"] = folder.file("cache");
afterAll(() => folder.remove());
const filter = (...args: string[]) => pktflow(["filter", ...args], { cwd: folder.path });
const LOOP = "while (atomic.load<u32>(paramsAddress()) != 0xdeadbeef) {}";
const HEAD = `import { OUTPUT_NEXT, Output, Packet, PROTOCOL_UDP, Udp, paramsAddress } from "pktflow/assembly";
import { params } from "./params";
export function packet(p: Packet): Output {
  return p.isTransport(PROTOCOL_UDP) && Udp.of(p).destinationPort == 9 ? bad() : OUTPUT_NEXT;
}
`;
const CASES = [9, 7]
  .map(
    (port) => `- purpose: To port ${port}
  packets: [{ in: { ipv4: { from: 10.0.0.1, to: 10.0.0.2 }, udp: { from-port: 1, to-port: ${port} } } }]
`,
  )
  .join("");

/** @param code defines bad() and whatever else */
function make(name: string, code: string, manifest = ""): string {
  mkdirSync(folder.file(name));
  writeFileSync(
    folder.file(`${name}/filter.yaml`),
    `summary: Bad.\nparams: { one: { type: u32, default: 1, doc: Any. } }\n${manifest}`,
  );
  writeFileSync(folder.file(`${name}/index.ts`), `${HEAD}${code}\nif (sizeof<u32>() != 4) params.one;\n`);
  writeFileSync(folder.file(`${name}/cases.yaml`), CASES);
  return name;
}
const HARMLESS = "function bad(): Output { return OUTPUT_NEXT; }";

describe("an endless loop", () => {
  const name = make("endless", `function bad(): Output { ${LOOP} return OUTPUT_NEXT; }`);
  test("filter test: the case fails, the next one is run", async () => {
    const { status, stdout } = await filter("test", name);
    expect(stdout).toBe(
      "FAIL To port 9 (endless/cases.yaml:1)\n       did not end within 250 ms of processor time\n" +
        "ok   To port 7\n\n1 of 2 cases pass\n",
    );
    expect(status).toBe(1);
  });
  test("filter show: there is no cost to show", async () => {
    const { status, stdout } = await filter("show", name);
    expect(stdout).toContain(
      "cost not measured: with the packets of its first case it did not end within 250 ms of processor time\n",
    );
    expect(status).toBe(0);
  });
  test("filter test --watch ends at an interrupt, wherever the filter is", async () => {
    const hang = `export function init(): void { if (params.one == 2) { ${LOOP} } }`;
    const setup = make("endless-init", `${HARMLESS}\n${hang}`);
    // The first one passes; each of the others may take seconds.
    const later = CASES.replaceAll("packets", "params: { one: 2 }\n  packets").repeat(20);
    writeFileSync(folder.file(`${setup}/cases.yaml`), CASES + later);
    const watching = new Pktflow(["filter", "test", setup, "--watch"], { cwd: folder.path });
    await until("the first case", () => watching.stdout.includes("ok   To port 7\n"), 60_000);
    const { status, stdout } = await watching.stop("SIGINT");
    expect(stdout).not.toContain("cases pass");
    expect(status).toBe(0);
  });
});

describe("a trap", () => {
  test("filter show: there is no cost to show", async () => {
    const name = make("trapping", "function bad(): Output { unreachable(); return OUTPUT_NEXT; }");
    const { status, stdout, stderr } = await filter("show", name);
    expect(stderr).toBe("");
    expect(stdout).toContain(
      "cost not measured: with the packets of its first case it trapped: unreachable\n",
    );
    expect(status).toBe(0);
  });
  test("in init(), filter test: each case fails", async () => {
    const name = make("trapping-init", `${HARMLESS}\nexport function init(): void { unreachable(); }`);
    const { status, stdout } = await filter("test", name);
    expect(stdout).toContain("before the first packet: unreachable\n");
    expect(stdout).toContain("0 of 2 cases pass");
    expect(status).toBe(1);
  });
});

describe("what does not end before the first packet", () => {
  const pipeline = (kind: string) => {
    writeFileSync(
      folder.file(`${kind}.yaml`),
      `pktflow: 1
devices:
  load: { kind: generator, packets: 1, flows: [{ proto: udp, from: 10.0.0.1, to: 10.0.0.2, size: 60 }] }
  sink: { kind: discard }
filters: { own: { kind: ./${kind} } }
paths: { main: { from: load, through: [own], to: sink } }
`,
    );
    return `${kind}.yaml`;
  };
  test("the size of its state: check says so", async () => {
    const code = `${HARMLESS}\nexport function workerStateSize(at: usize): usize { while (load<u32>(at) != 99) {} return 8; }`;
    const file = pipeline(make("endless-size", code, "state: { worker: computed }\n"));
    const { status, stderr } = await pktflow(["check", file], { cwd: folder.path });
    expect(stderr).toBe(
      "pktflow: ./endless-size: its size of state: did not end within 250 ms of processor time\n",
    );
    expect(status).toBe(2);
  });
  test("initShared: so does the thread that runs it", async () => {
    const code = `${HARMLESS}\nexport function initShared(): void { ${LOOP} }`;
    const { bytes } = await loadFilter(loadManifest(folder.file(make("endless-shared", code))));
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const trial = new Trial(bytes, 100);
    const shared = trial.fill(memory, 1024, "initShared");
    await expect(shared).rejects.toThrow(Hang);
    await expect(shared).rejects.toThrow("did not end within 100 ms of processor time");
    await trial.close();
  });
  test("initShared: its trap and its result", async () => {
    const code = `${HARMLESS}\nexport function initShared(): void { store<u32>(512, 77); }`;
    const { bytes } = await loadFilter(loadManifest(folder.file(make("shared", code))));
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const trial = new Trial(bytes);
    await trial.fill(memory, 1024, "initShared");
    expect(new Uint32Array(memory.buffer)[128]).toBe(77);
    await trial.close();
  });
});
