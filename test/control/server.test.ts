// A running pipeline's socket: whoever is wrong, slow, silent or gone on it harms nobody but himself.
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import fc from "fast-check";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { Connection, ConnectionLost, NoAnswer } from "../../src/control/client.ts";
import { type About, ControlError, LONGEST_REQUEST } from "../../src/control/protocol.ts";
import type { Report } from "../../src/control/report.ts";
import { type ControlSocket, type Handlers, MOST_CLIENTS, openControl } from "../../src/control/server.ts";
import { TemporaryFolder, until } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const about: About = {
  name: "one",
  pid: process.pid,
  file: "/etc/one.yaml",
  command: "run",
  started: "2024-01-01T00:00:00.000Z",
};
const report = { pipeline: "one", seconds: 1 } as Report;
let handlers: Handlers;
let socket: ControlSocket;
/** Ended after each test: connections end with the process, which goes on. */
let opened: (Socket | Connection)[] = [];

beforeEach(async () => {
  handlers = {
    stats: () => report,
    stop: () => ({}),
    reload: async () => ({ changed: [], waiting: [], trapped: [], warnings: [] }),
  };
  socket = await openControl(
    about,
    { stats: () => handlers.stats(), stop: () => handlers.stop(), reload: () => handlers.reload() },
    [folder.path],
  );
});

afterEach(() => {
  for (const connection of opened) "close" in connection ? connection.close() : connection.destroy();
  opened = [];
  socket.close();
});

async function connection(): Promise<Connection> {
  const made = await Connection.open(socket.path);
  opened.push(made);
  return made;
}

/** Sends text as any program would; collects what comes back, to the end of the connection. */
async function say(text: string | Buffer, end = false): Promise<{ replies: object[]; socket: Socket }> {
  const made = connect({ path: socket.path, allowHalfOpen: true });
  opened.push(made);
  let all = "";
  made.on("data", (piece) => (all += piece)).on("error", () => {});
  if (end) made.end(text);
  else made.write(text);
  await new Promise((resolve) => made.on("end", resolve));
  const replies = all.split("\n").slice(0, -1);
  return { replies: replies.map((line) => JSON.parse(line)), socket: made };
}

const bad = (message: RegExp) => ({
  pktflow: 1,
  ok: false,
  error: { code: "bad-request", message: expect.stringMatching(message) },
});

describe("the socket", () => {
  test("is its user's alone, named by the process, and gone when it is closed", () => {
    expect(socket.path).toMatch(new RegExp(`/${process.pid}-[0-9a-f]{8}\\.sock$`));
    expect(statSync(socket.path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder.path)).toHaveLength(1);
    socket.close();
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test("two of a process are two", async () => {
    const other = await openControl(about, handlers, [folder.path]);
    expect(other.path).not.toBe(socket.path);
    other.close();
    expect(existsSync(socket.path)).toBe(true);
  });

  test("is in the first directory that will do", async () => {
    mkdirSync(folder.file("open"), { recursive: true });
    const first = folder.file("x".repeat(100));
    const made = await openControl(about, handlers, [first, folder.file("open"), folder.file("good")]);
    expect(made.path).toContain(folder.file("good/"));
    made.close();
  });

  test("if none will, each is told with its reason", async () => {
    const long = folder.file("x".repeat(100));
    const opening = openControl(about, handlers, [long, folder.file("open"), folder.file("no/where")]);
    await expect(opening).rejects.toThrow(
      new RegExp(
        `^${long}/.* at most 107: .*; ${folder.file("open")} is open .*; mkdir ${folder.file("no/where")}: ENOENT$`,
      ),
    );
  });
});

describe("a command", () => {
  test("is answered", async () => {
    const c = await connection();
    expect(await c.ask("info", 10_000)).toEqual(about);
    expect(await c.ask("stats", 10_000)).toEqual(report);
    expect(await c.ask("stop", 10_000)).toEqual({});
    expect(await c.ask("reload", 10_000)).toEqual({ changed: [], waiting: [], trapped: [], warnings: [] });
  });

  test("is refused with all that there is to say", async () => {
    const refusal = { code: "not-reloadable" as const, message: "no", reasons: ["devices", "paths"] };
    handlers.reload = () => Promise.reject(new ControlError(refusal));
    handlers.stats = () => {
      throw new RangeError("no memory");
    };
    const c = await connection();
    await expect(c.ask("reload", 10_000)).rejects.toMatchObject({ refusal });
    await expect(c.ask("stats", 10_000)).rejects.toMatchObject({
      refusal: { code: "failed", message: "no memory" },
    });
    expect(await c.ask("info", 10_000), "and the connection goes on").toEqual(about);
  });

  test("that takes long holds up nobody else, and ends as one that lost its asker", async () => {
    let finish = () => {};
    handlers.reload = () =>
      new Promise((resolve) => {
        finish = () => resolve({ changed: [], waiting: [], trapped: [], warnings: [] });
      });
    const slow = await connection();
    const reloaded = slow.ask("reload", 10_000);
    expect(await (await connection()).ask("info", 10_000)).toEqual(about);
    slow.close();
    await expect(reloaded).rejects.toThrow(ConnectionLost);
    finish();
    expect(await (await connection()).ask("info", 10_000)).toEqual(about);
  });

  test("that is not answered is given up", async () => {
    handlers.stats = () => new Promise(() => {});
    await expect((await connection()).ask("stats", 20)).rejects.toThrow(NoAnswer);
  });
});

describe("whoever writes to it", () => {
  test("may say several things at once, and end his side: each is answered, in order", async () => {
    const text = '{"pktflow":1,"command":"info"}\n{"pktflow":1,"command":"stats"}';
    const { replies } = await say(text, true);
    expect(replies).toEqual([
      { pktflow: 1, ok: true, result: about },
      { pktflow: 1, ok: true, result: report },
    ]);
  });

  test("in an unknown command, is told the known ones, and may try again", async () => {
    const { replies } = await say(
      '{"pktflow":1,"command":"__proto__"}\n{"pktflow":1,"command":"info"}\n',
      true,
    );
    expect(replies).toMatchObject([
      {
        ok: false,
        error: {
          code: "unknown-command",
          message: 'there is no command "__proto__": there are info, stats, stop, reload',
        },
      },
      { ok: true },
    ]);
  });

  test.each([
    ["no JSON", "GET / HTTP/1.1\r\n", /a request is a JSON object/],
    ["another version", '{"pktflow":9,"command":"stats"}\n', /speaks 1/],
    ["bytes", Buffer.from([0xff, 0xfe, 0, 10]), /a request is a JSON object/],
    ["what has no end", Buffer.alloc(1 << 20, "x"), new RegExp(`at most ${LONGEST_REQUEST} bytes`)],
  ])("%s, is told so, and let go of", async (_, text, message) => {
    const { replies } = await say(text);
    expect(replies).toEqual([bad(message)]);
  });

  test("anything at all, harms nobody", async () => {
    const request = fc
      .constantFrom("info", "stats", "reload")
      .map((command) => `{"pktflow":1,"command":"${command}"}\n`);
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 6000 }),
      fc.json().map((json) => Buffer.from(`${json}\n`)),
    );
    const piece = fc.oneof(
      noise,
      request.map((text) => Buffer.from(text)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 6 }), async (pieces) => {
        const { replies } = await say(Buffer.concat(pieces), true);
        for (const reply of replies) expect(reply).toMatchObject({ pktflow: 1, ok: expect.any(Boolean) });
        const bads = replies.filter(
          (reply) => (reply as { error?: { code: string } }).error?.code === "bad-request",
        );
        expect(bads.length).toBeLessThanOrEqual(1);
        if (bads.length > 0) expect(replies.at(-1)).toBe(bads[0]);
      }),
    );
    expect(await (await connection()).ask("info", 10_000)).toEqual(about);
  });

  test("what follows a bad request is not carried out", async () => {
    let stopped = false;
    handlers.stop = () => {
      stopped = true;
      return {};
    };
    const { replies } = await say('stop\n{"pktflow":1,"command":"stop"}\n', true);
    expect(replies).toEqual([bad(/a request is a JSON object/)]);
    expect(await (await connection()).ask("info", 10_000)).toEqual(about);
    expect(stopped).toBe(false);
  });

  test("and goes in the midst of it, is forgotten", async () => {
    for (const text of ["", '{"pktflow":1,"comm', '{"pktflow":1,"command":"stats"}\n'.repeat(1000)]) {
      const made = connect(socket.path);
      await new Promise<void>((resolve) => made.write(text, () => resolve()));
      made.destroy();
    }
    expect(await (await connection()).ask("info", 10_000)).toEqual(about);
  });

  test("and does not read, has one reply under way, and no more is computed for him", async () => {
    let computed = 0;
    const large = { ...report, pipeline: "x".repeat(1 << 20) };
    handlers.stats = () => {
      computed++;
      return large;
    };
    const made = connect(socket.path);
    opened.push(made);
    made.pause();
    made.write('{"pktflow":1,"command":"stats"}\n'.repeat(100));
    await until("the first reply", () => computed > 0);
    // Everything that the server would do without being read happens before it answers others.
    for (let i = 0; i < 10; i++) expect(await (await connection()).ask("info", 10_000)).toEqual(about);
    expect(computed).toBe(1);
  });

  test("is answered also if there are many, and the one silent longest is let go of", async () => {
    const silent = await connection();
    const talking = await connection();
    expect(await talking.ask("info", 10_000)).toEqual(about);
    const rest: Connection[] = [];
    for (let i = 0; i < MOST_CLIENTS - 1; i++) rest.push(await connection());
    await silent.ended;
    expect(await talking.ask("info", 10_000)).toEqual(about);
    const answers = await Promise.all(rest.map((each) => each.ask("stats", 10_000)));
    expect(answers).toEqual(rest.map(() => report));
  });

  test("and waits for an answer or for the end, is not let go of for others", async () => {
    let finish = () => {};
    handlers.reload = () =>
      new Promise((resolve) => {
        finish = () => resolve({ changed: [], waiting: [], trapped: [], warnings: [] });
      });
    const stopping = await connection();
    await stopping.ask("stop", 60_000);
    const reloading = await connection();
    const reloaded = reloading.ask("reload", 60_000);
    const silent: Connection[] = [];
    for (let i = 0; i < MOST_CLIENTS; i++) silent.push(await connection());
    await Promise.all([silent[0].ended, silent[1].ended]);
    finish();
    expect(await reloaded).toEqual({ changed: [], waiting: [], trapped: [], warnings: [] });
    expect(await stopping.ask("info", 60_000)).toEqual(about);
  });

  test("and finds all of them waiting, is let go of", async () => {
    const waiting: Connection[] = [];
    for (let i = 0; i < MOST_CLIENTS; i++) waiting.push(await connection());
    await Promise.all(waiting.map((each) => each.ask("stop", 60_000)));
    await (await connection()).ended;
    const answers = await Promise.all(waiting.map((each) => each.ask("info", 60_000)));
    expect(answers).toEqual(waiting.map(() => about));
  });

  test("byte by byte, has as long for a request as everyone", async () => {
    const strict = await openControl(about, handlers, [folder.path], 200);
    const made = connect(strict.path);
    opened.push(made);
    // The line would have its end in 20 s.
    const writing = setInterval(() => made.write("x"), 5);
    await new Promise((resolve) => made.on("error", () => {}).on("close", resolve));
    clearInterval(writing);
    expect(made.bytesWritten).toBeLessThan(LONGEST_REQUEST);
    strict.close();
  });
});
