// Where sockets are: in a directory that is its user's alone, or nowhere.
import { chmodSync, chownSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  checkLength,
  makeDirectory,
  outsideUid,
  refusalOfDirectory,
  runtimeDirectories,
} from "../../src/control/directory.ts";
import { TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
const isRoot = process.getuid!() === 0;

describe("where it is", () => {
  const inTmp = (uid: number) => join(tmpdir(), `pktflow-${uid}`);

  test("PKTFLOW_RUNTIME_DIR, and then nowhere else", () => {
    const env = { PKTFLOW_RUNTIME_DIR: "some/where", XDG_RUNTIME_DIR: folder.path };
    expect(runtimeDirectories(env, 0)).toEqual([join(process.cwd(), "some/where")]);
  });

  test("in $XDG_RUNTIME_DIR, then in the directory for temporary files", () => {
    const env = { PKTFLOW_RUNTIME_DIR: "", XDG_RUNTIME_DIR: folder.path };
    expect(runtimeDirectories(env, 1000)).toEqual([folder.file("pktflow"), inTmp(1000)]);
    expect(runtimeDirectories({}, 1000)).toEqual([inTmp(1000)]);
  });

  test("root's is /run/pktflow, however it came to be root", () => {
    expect(runtimeDirectories({}, 0)).toEqual(["/run/pktflow", inTmp(0)]);
    expect(runtimeDirectories({ XDG_RUNTIME_DIR: folder.path }, 0)[0]).toBe("/run/pktflow");
  });

  test("an $XDG_RUNTIME_DIR of somebody else's (sudo -E), of nobody, or relative is none", () => {
    for (const path of [foreignDirectory(), folder.file("absent"), "relative"]) {
      expect(runtimeDirectories({ XDG_RUNTIME_DIR: path }, 1000)).toEqual([inTmp(1000)]);
    }
  });

  test("root of a user namespace that a user has made is that user", () => {
    expect(outsideUid("         0       1000          1\n", 0)).toBe(1000);
    expect(outsideUid("         0          0 4294967295\n", 0)).toBe(0);
    expect(outsideUid("0 100000 65536\n", 0), "a container's root").toBe(0);
    expect(outsideUid("0 1000 1\n1 100000 65536\n", 0), "one with users of its own").toBe(0);
    expect(outsideUid("", 7)).toBe(7);
  });
});

/** A directory that is not this user's. */
function foreignDirectory(): string {
  if (!isRoot) return "/usr";
  const path = folder.file("foreign");
  mkdirSync(path, { recursive: true, mode: 0o700 });
  chownSync(path, 65534, 65534);
  return path;
}

describe("whose it is", () => {
  test("made, it is of mode 0700, and is taken as it is the next time", () => {
    const path = folder.file("own");
    for (let i = 0; i < 2; i++) {
      makeDirectory(path, {});
      expect(statSync(path).mode & 0o777).toBe(0o700);
      expect(refusalOfDirectory(path)).toBeUndefined();
    }
  });

  test("with the folders that lead there, only if it was chosen", () => {
    expect(() => makeDirectory(folder.file("a/b"), {})).toThrow(`mkdir ${folder.file("a/b")}: ENOENT`);
    makeDirectory(folder.file("a/b"), { PKTFLOW_RUNTIME_DIR: folder.file("a/b") });
    expect(refusalOfDirectory(folder.file("a/b"))).toBeUndefined();
  });

  test("somebody else's is refused", () => {
    expect(() => makeDirectory(foreignDirectory(), {})).toThrow(/ belongs to another user \(uid \d+\)/);
  });

  test("one that others can open is refused, with the command that mends it", () => {
    const path = folder.file("open");
    mkdirSync(path);
    for (const mode of [0o755, 0o701, 0o770, 0o1777]) {
      chmodSync(path, mode);
      expect(() => makeDirectory(path, {})).toThrow(`chmod 700 ${path}`);
    }
  });

  test("a link to one, or a file, is none", () => {
    mkdirSync(folder.file("target"), { mode: 0o700 });
    symlinkSync(folder.file("target"), folder.file("link"));
    writeFileSync(folder.file("file"), "");
    for (const name of ["link", "file"]) {
      expect(() => makeDirectory(folder.file(name), {})).toThrow(`${folder.file(name)} is no directory`);
    }
  });

  test("that there is none is no reason to refuse it", () => {
    expect(refusalOfDirectory(folder.file("nowhere"))).toBeUndefined();
  });
});

test("a socket's path has at most 107 bytes", () => {
  checkLength("/".padEnd(107, "x"));
  expect(() => checkLength("/".padEnd(108, "x"))).toThrow("has 108 bytes, and a socket's path at most 107");
  expect(() => checkLength("/".padEnd(55, "ä"))).toThrow("has 109 bytes");
});
