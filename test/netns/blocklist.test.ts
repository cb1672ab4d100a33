// pipelines/blocklist.yaml: a list that is read again while hosts of the real kernel talk.
import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeKernel } from "../support/namespace.ts";
import { pktflow, until } from "../support/pktflow.ts";
import { Scene } from "../support/scene.ts";

/** Gives back what it gets, to each that comes. */
const ECHO = `import socket, threading
def serve(c):
    while data := c.recv(65536): c.sendall(data)
server = socket.create_server(("0.0.0.0", 9000))
print("ready", flush=True)
while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()`;
/**
 * Connects to both, and for each line that it reads says what becomes of ten bytes on either connection and of a new one: "ok",
 * or why not.
 */
const CLIENT = `import socket, sys
def attempt(what):
    try: return "ok" if what() else "nothing"
    except OSError as error: return error.strerror or type(error).__name__
def connect(to):
    c = socket.socket(); c.settimeout(5); c.connect((to, 9000)); return c
both = { to: connect(to) for to in ["203.0.113.1", "203.0.113.7"] }
def talk(c): c.sendall(b"ten bytes!"); return c.recv(10, socket.MSG_WAITALL) == b"ten bytes!"
print("connected", flush=True)
for line in sys.stdin:
    c = both["203.0.113.7"]
    c.settimeout(5 if line.strip() == "open" else 0.5)
    print(attempt(lambda: talk(both["203.0.113.1"])), "/", attempt(lambda: talk(c)), "/", attempt(lambda: connect("203.0.113.7")), flush=True)`;

describeKernel("blocklist", () => {
  let scene: Scene;
  beforeEach(() => {
    scene = new Scene();
  });
  afterEach(() => scene.close());

  test.each(["poll", "uring"])(
    "who is put on the list is cut off at once, others go on; who is taken off is let in again; engine %s",
    async (io) => {
      const list = scene.folder.file("blocked.txt");
      const env = { PKTFLOW_RUNTIME_DIR: scene.folder.file("run") };
      writeFileSync(list, "198.51.100.0/24\n");
      await scene.run(
        "pipelines/blocklist.yaml",
        { office: "office", internet: "internet" },
        `filters.bans.sets.blocked.file=${list}`,
        'devices.office.routes=["0.0.0.0/0"]',
        'devices.internet.routes=["0.0.0.0/0"]',
        { env, io },
      );
      await until("the routes are there", () =>
        ["office", "internet"].every((host) => scene.host(host).ip("route show default") !== ""),
      );
      const server = scene.start("internet", "/usr/bin/python3", "-c", ECHO);
      await scene.says(server, "ready");
      const client = scene.start("office", "/usr/bin/python3", "-u", "-c", CLIENT);
      await scene.says(client, "connected");
      const ask = async (line: string) => {
        client.output = "";
        client.child.stdin!.write(`${line}\n`);
        await scene.says(client, "\n");
        return client.output.trim();
      };
      const reload = async () => {
        const { status, stdout, stderr } = await pktflow(["reload", "blocklist"], { env });
        expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
        return stdout;
      };
      expect(await ask("open")).toBe("ok / ok / ok");
      writeFileSync(list, "198.51.100.0/24\n203.0.113.7\n");
      expect(await reload()).toBe("bans: sets.blocked\n");
      // An ICMP error is a hint to a connection that there is, and the end of one that begins.
      expect(await ask("shut")).toBe("ok / TimeoutError / No route to host");
      writeFileSync(list, "198.51.100.0/24\nnobody\n");
      const wrong = await pktflow(["reload", "blocklist"], { env });
      expect(wrong.status).toBe(2);
      expect(wrong.stderr).toMatch(/blocked\.txt:2:1 error bad-value: .*sets\.blocked wants a prefix/);
      expect(await ask("shut")).toMatch(/^ok \/ \S.* \/ No route to host$/);
      writeFileSync(list, "198.51.100.0/24\n");
      await reload();
      expect(await ask("open")).toMatch(/^ok \/ \S.* \/ ok$/);
      const { filters } = await scene.finish();
      const { outputs, counters } = filters["bans"];
      expect(outputs["refuse"]).toBeGreaterThanOrEqual(2);
      expect(counters["rules.asked"]).toBe(outputs["refuse"]);
      expect(filters["unreachable"].outputs["next"]).toBeGreaterThanOrEqual(2);
      // Of the connections that began, those with who was cut off among them.
      expect(filters["wall"].counters["connections-made"]).toBeGreaterThanOrEqual(4);
    },
  );
});
