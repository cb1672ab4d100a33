// What a user gets who asks for what cannot be: an exit status and a message that says what, where and why.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  createReadStream,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";
import { MAIN, pktflow, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

let files = 0;
/** A pipeline of two tun devices, with `device` said of the first. */
function twoTuns(device: string): string {
  const file = folder.file(`tuns-${files++}.yaml`);
  writeFileSync(
    file,
    `pktflow: 1
devices:
  left: { kind: tun${device} }
  right: { kind: tun }
paths:
  there: { from: left, to: right }
  back: { from: right, to: left }
`,
  );
  return file;
}

describe("a file that is wrong: exit status 2, with file, line and column", () => {
  test("a missing file", async () => {
    const { status, stderr } = await pktflow(["run", folder.file("none.yaml")]);
    expect(status).toBe(2);
    expect(stderr).toContain("none.yaml");
    expect(stderr).toContain("ENOENT");
  });

  test("text that is no YAML", async () => {
    const file = folder.file("broken.yaml");
    writeFileSync(file, "pktflow: 1\ndevices: { lan: [\n");
    const { status, stderr } = await pktflow(["check", file]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/broken\.yaml:\d+:\d+ error /);
  });

  test.each([
    ["a bad address", ", address: 10.77.0.256/24", /:3:31 error \S+: .*10\.77\.0\.256/],
    [
      "an address twice",
      ", address: [10.1.0.1/24, 10.1.0.1/24]",
      /:3:45 error contradiction: .*10\.1\.0\.1\/24 twice/,
    ],
    ["no queue", ", queues: 0", /:3:30 error out-of-range: .*queues/],
    ["257 queues", ", queues: 257", /:3:30 error out-of-range: .*queues/],
    ["a name of 16 characters", ", name: sixteen-letters-", /:3:28 error \S+: .*15/],
    [
      "an unknown key",
      ", adress: 10.77.0.1/24",
      /:3:22 error unknown-key: .*\n.*\n.*did you mean "address"\?/,
    ],
  ])("%s", async (_, device, message) => {
    const { status, stderr } = await pktflow(["check", twoTuns(device)]);
    expect(stderr).toMatch(message);
    expect(status).toBe(2);
  });

  test("check --json says it on standard output too, for programs", async () => {
    const file = twoTuns(", queues: 0");
    const { status, stdout } = await pktflow(["check", "--json", file]);
    const { diagnostics } = JSON.parse(stdout);
    expect(diagnostics).toMatchObject([{ file, line: 3, column: 30, code: "out-of-range" }]);
    expect(status).toBe(2);
  });

  test("a key that is like none is told with those there are", async () => {
    const { status, stderr } = await pktflow(["check", twoTuns(", colour: red")]);
    expect(stderr).toMatch(/unknown key "colour"; could be .*\bqueues\b/);
    expect(status).toBe(2);
  });

  test("check says where a filter may hold fewer packets than it asks for, and why", async () => {
    const file = folder.file("held.yaml");
    const text = (device: string, limit: number) => `pktflow: 1
devices: { a: { kind: tun${device} }, b: { kind: tun${device} } }
filters: { up: { kind: impair, limit: ${limit} }, down: { kind: shape, rate: 1Mbit, limit: ${limit} } }
paths: { there: { from: a, through: [up], to: b }, back: { from: b, through: [down], to: a } }
`;
    const said = async (device: string, limit: number) => {
      writeFileSync(file, text(device, limit));
      const { status, stdout, stderr } = await pktflow(["check", file]);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      return stdout.split("\n").filter((line) => line.includes("holds"));
    };
    expect(await said("", 4000)).toEqual([]);
    const all = "all filters together ask for 20,000, and 16,384 is the most";
    expect(await said("", 10_000)).toEqual(
      ["up", "down"].map((id) => `${id} holds 8,192 packets at most on a worker, not 10,000: ${all}`),
    );
    const [line] = await said(", mtu: 65000, queues: 8", 4000);
    expect(line).toMatch(
      /^up holds [\d,]+ packets at most on a worker, not 4,000: slots of [\d.]+ KiB for all that filters ask for would take more memory than they may$/,
    );
  });

  test.each(["check", "run"])("parameters that contradict each other, for %s", async (command) => {
    const file = folder.file("contradiction.yaml");
    writeFileSync(
      file,
      `pktflow: 1
devices:
  traffic: { kind: generator, flows: { from: 10.0.0.1, to: "::1" } }
  sink: { kind: discard }
paths:
  all: { from: traffic, to: sink }
`,
    );
    const { status, stderr } = await pktflow([command, file]);
    expect(stderr).toMatch(
      /contradiction\.yaml:3:38 error contradiction: device "traffic": .*10\.0\.0\.1.* IPv4 .* IPv6/,
    );
    expect(status).toBe(2);
  });

  test("several errors are all reported at once", async () => {
    const { stderr } = await pktflow(["check", twoTuns(", queues: 0, adress: 10.77.0.1/24, mtu: 12")]);
    expect(stderr.match(/ error /g)).toHaveLength(3);
  });
});

describe("a command line that is wrong: exit status 2", () => {
  test.each([
    ["no command", []],
    ["an unknown command", ["rum", "pipelines/forward.yaml"]],
    ["an unknown option", ["run", "pipelines/forward.yaml", "--fast"]],
    ["no file", ["run"]],
    ["a bad duration", ["run", "pipelines/forward.yaml", "--for", "soon"]],
    ["a bad engine", ["run", "pipelines/forward.yaml", "--io", "dpdk"]],
    ["--set of what is not there", ["check", "pipelines/forward.yaml", "--set", "devices.c.queues=4"]],
  ])("%s", async (_, args) => {
    const { status, stderr } = await pktflow(args);
    expect(stderr).not.toBe("");
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(status).toBe(2);
  });

  test("asking for help is no error", async () => {
    for (const args of [["--help"], ["run", "--help"], ["--version"]]) {
      const { status, stdout } = await pktflow(args);
      expect(status).toBe(0);
      expect(stdout).not.toBe("");
    }
  });
});

describeKernel("what this machine refuses: exit status 3, with the command that helps", () => {
  let ns: TestNamespace;
  beforeAll(() => {
    ns = new TestNamespace();
  });
  afterAll(() => ns.remove());
  const inside = { prefix: ["ip", "netns", "exec", "", "--"] };
  beforeAll(() => {
    inside.prefix = ["ip", "netns", "exec", ns.name];
  });

  test("no privilege", async () => {
    const file = twoTuns("");
    chmodSync(folder.path, 0o755);
    const prefix = [...inside.prefix, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const { status, stderr } = await pktflow(["run", file, "--for", "1s"], { prefix });
    expect(stderr).toMatch(/^pktflow: .*(EACCES|EPERM)/);
    expect(stderr).toMatch(/sudo|setcap|chmod/);
    expect(status).toBe(3);
  });

  test("no /dev/net/tun", async () => {
    const hide = 'mount -t tmpfs none /dev/net && exec "$@"';
    const prefix = [...inside.prefix, "unshare", "-m", "sh", "-c", hide, "sh"];
    const { status, stderr } = await pktflow(["run", twoTuns(""), "--for", "1s"], { prefix });
    expect(stderr).toMatch(/^pktflow: .*\/dev\/net\/tun: ENOENT/);
    expect(stderr).toMatch(/modprobe tun|mknod/);
    expect(status).toBe(3);
  });

  test.each([
    ["another mode", "tuntap add left mode tap", /left.*tap/],
    ["one queue where several are asked for", "tuntap add left mode tun", /left.*queue/],
    ["another kind of interface", "link add left type veth peer name left2", /left/],
  ])("a device that exists with %s", async (_, words, message) => {
    ns.ip(words);
    try {
      const { status, stderr } = await pktflow(["run", twoTuns(", queues: 2"), "--for", "1s"], inside);
      expect(stderr).toMatch(message);
      expect([2, 3]).toContain(status);
    } finally {
      ns.ip("link del dev left");
    }
    expect(ns.ip("-o link show")).not.toContain("right");
  });
});

describe("files of packets that end badly: exit status 1, what was whole is processed", () => {
  const pipeline = folder.file("copy.yaml");
  const capture = folder.file("in.pcap");

  beforeAll(async () => {
    writeFileSync(
      pipeline,
      `pktflow: 1
devices:
  in: { kind: pcap, read: "\${IN}" }
  out: { kind: pcap, write: "\${OUT}" }
paths:
  all: { from: in, to: out }
`,
    );
    const make = folder.file("make.yaml");
    writeFileSync(
      make,
      `pktflow: 1
devices:
  traffic: { kind: generator, packets: 100000, flows: { proto: udp, from: 10.0.0.1, to: 10.0.0.2, from-port: 1000, to-port: 2000, size: 100 } }
  out: { kind: pcap, write: "${capture}" }
paths:
  all: { from: traffic, to: out }
`,
    );
    expect((await pktflow(["run", make, "--quiet"])).status).toBe(0);
  });

  test("a truncated capture names the byte offset", async () => {
    const cut = folder.file("cut.pcap");
    writeFileSync(cut, readFileSync(capture));
    // A file header of 24 bytes, then records of 116: the last one loses 10 bytes.
    const wholeRecords = 99_999;
    truncateSync(cut, 24 + 116 * 100_000 - 10);
    const env = { IN: cut, OUT: folder.file("cut-out.pcap") };
    const report = folder.file("cut.json");
    const { status, stderr } = await pktflow(["run", pipeline, "--quiet", "--report", report], { env });
    expect(stderr).toMatch(new RegExp(`^pktflow: .*cut\\.pcap.*${24 + 116 * wholeRecords}`));
    expect(status).toBe(1);
    expect(readReport(report).devices["out"].queues[0].tx.packets).toBe(wholeRecords);
  });

  test("what is no capture at all", async () => {
    const { status, stderr } = await pktflow(["run", pipeline], { env: { IN: pipeline, OUT: "/dev/null" } });
    expect(stderr).toMatch(/^pktflow: .*copy\.yaml/);
    expect(status).toBe(2);
  });

  test.each(["the same name", "another name"])(
    "a capture to write that is the one to read, by %s",
    async (how) => {
      const copy = folder.file("copy.pcap");
      writeFileSync(copy, readFileSync(capture));
      const other = folder.file("link.pcap");
      if (how === "another name" && !existsSync(other)) symlinkSync(copy, other);
      const env = { IN: copy, OUT: how === "the same name" ? copy : other };
      const { status, stderr } = await pktflow(["run", pipeline], { env });
      expect(stderr).toMatch(/^pktflow: device "out": .* is the file that device "in" reads/);
      expect(status).toBe(2);
      expect(readFileSync(copy).equals(readFileSync(capture))).toBe(true);
    },
  );

  test("a capture that is missing", async () => {
    const env = { IN: folder.file("none.pcap"), OUT: "/dev/null" };
    const { status, stderr } = await pktflow(["run", pipeline], { env });
    expect(stderr).toMatch(/^pktflow: open .*none\.pcap: ENOENT/);
    expect(status).toBe(2);
  });

  test("a full disk", async () => {
    const report = folder.file("full.json");
    const env = { IN: capture, OUT: "/dev/full" };
    const { status, stderr } = await pktflow(["run", pipeline, "--quiet", "--report", report], { env });
    expect(stderr).toMatch(/^pktflow: write \/dev\/full: ENOSPC/);
    expect(status).toBe(1);
  });

  test("a closed pipe, and what was not written is counted", async () => {
    const report = folder.file("pipe.json");
    const command = `"${process.execPath}" "${MAIN}" run "${pipeline}" --quiet --report "${report}" | head -c 1000 >/dev/null; exit \${PIPESTATUS[0]}`;
    const child = spawn("bash", ["-c", command], {
      env: { ...process.env, IN: capture, OUT: "-", NO_COLOR: "1" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let stderr = "";
    child.stderr.on("data", (text) => {
      stderr += text;
    });
    const [status] = await once(child, "close");
    expect(stderr).toMatch(/^pktflow: write standard output: EPIPE/);
    expect(status).toBe(1);
    const { queues } = readReport(report).devices["out"];
    const lost = queues[0].drops["io-error"];
    expect(lost).toBeGreaterThan(0);
    expect(readReport(report).devices["in"].queues[0].rx.packets).toBe(queues[0].tx.packets + lost);
  });

  test.each(["a named pipe", "standard output"])(
    "%s that nobody empties does not keep a signal from ending the run",
    async (what) => {
      const endless = folder.file("endless.yaml");
      writeFileSync(
        endless,
        `pktflow: 1
workers: 2
devices:
  traffic: { kind: generator, queues: 2, flows: [{ proto: udp, from: 10.0.0.1, to: 10.0.0.2, size: 1000 }] }
  out: { kind: pcap, write: "\${OUT}" }
paths: { all: { from: traffic, to: out } }
`,
      );
      const fifo = folder.file("fifo");
      const report = folder.file("stuck.json");
      if (what === "a named pipe") execFileSync("mkfifo", [fifo]);
      const child = spawn(process.execPath, [MAIN, "run", endless, "--quiet", "--report", report], {
        env: { ...process.env, OUT: what === "a named pipe" ? fifo : "-" },
        stdio: ["ignore", "pipe", "pipe"],
      });
      let stderr = "";
      child.stderr.on("data", (text) => {
        stderr += text;
      });
      const reader = what === "a named pipe" ? createReadStream(fifo) : child.stdout;
      const said = once(child.stderr, "end");
      // The first bytes are there, and nobody takes them.
      await once(reader, "readable");
      await new Promise((resolve) => setTimeout(resolve, 500));
      child.kill("SIGTERM");
      const [status] = await once(child, "exit");
      reader.destroy();
      await said;
      expect(stderr).toMatch(/^pktflow: write .*: EAGAIN: .*stopped reading/);
      expect(status).toBe(1);
      expect(conservation(readReport(report)).missing).toBe(0);
    },
  );

  test("a report that cannot be written is said before anything runs", async () => {
    mkdirSync(folder.file("directory"));
    const args = ["run", pipeline, "--quiet", "--report", folder.file("directory")];
    const { status, stderr } = await pktflow(args, { env: { IN: capture, OUT: folder.file("never.pcap") } });
    expect(stderr).toMatch(/^pktflow: .*directory.*EISDIR/);
    expect(status).toBe(2);
    expect(() => readFileSync(folder.file("never.pcap"))).toThrow();
  });
});

describe("wrong usage: exit status 2, and where to look", () => {
  test.each([
    [
      ["lab", "pipelines/forward.yaml", "ping", "-c", "1", "10.2.0.2"],
      "stands behind --: pktflow lab FILE -- COMMAND",
    ],
    [["lab", "pipelines/forward.yaml", "--qiet"], "(pktflow lab --help "],
    [["run"], "(pktflow run --help "],
    [["filter", "show"], "(pktflow filter show --help "],
    [["pipelines/forward.yaml"], 'did you mean "pktflow run pipelines/forward.yaml"?'],
    [["frobnicate"], "(pktflow --help "],
    [["run", "pipelines/forward.yaml", "--for", "0s"], "nothing can be done in no time"],
    [["bench", "pipelines/forward.yaml", "--for", "0s"], "nothing can be done in no time"],
  ])("pktflow %j", async (words, text) => {
    const { status, stdout, stderr } = await pktflow(words);
    expect(stderr).toContain(text);
    expect(stdout).toBe("");
    expect(status).toBe(2);
  });

  test("an option of lab that does not exist is not taken for one of a command", async () => {
    const { stderr } = await pktflow(["lab", "pipelines/forward.yaml", "--qiet"]);
    expect(stderr).toContain("--quiet");
    expect(stderr).not.toContain("COMMAND");
  });

  test.each([
    [["tuntap", "--help"]],
    [["tuntap", "add", "--help"]],
    [["tuntap", "-h"]],
    [["help", "tuntap"]],
  ])("pktflow %j prints the grammar of tuntap", async (words) => {
    const { status, stdout } = await pktflow(words);
    expect(stdout).toBe((await pktflow(["tuntap", "help"])).stdout);
    expect(stdout).toContain("mode { tun | tap }");
    expect(status).toBe(0);
  });
});
