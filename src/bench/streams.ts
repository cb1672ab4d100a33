/** TCP connections between two hosts, made on the main thread: whoever moves bytes is handed their descriptors. */
import { close } from "../sys/calls.ts";
import { check } from "../sys/errno.ts";
import { withNamespace } from "../sys/namespaces.ts";
import type { Endpoint } from "../sys/socket.ts";
import { acceptTcp, connectionState, connectTcp, listenTcp } from "../sys/streams.ts";
import { pause } from "./stage.ts";

/** A SYN that is lost is sent again after a second. ms */
const PATIENCE = 2500;
const PAUSE = 5;

/** Descriptors of namespaces. */
interface Namespaces {
  from: number;
  to: number;
}

export interface Streams {
  /** Sockets of the host that connected, and those of the other. */
  near: number[];
  far: number[];
  close(): void;
}

/**
 * Connections from one host to a port of another.
 * @throws SystemError, Error: not all came about; none is left then
 */
export async function openStreams(
  { from, to }: Namespaces,
  target: Endpoint,
  count: number,
  signal: AbortSignal,
): Promise<Streams> {
  const what = `TCP port ${target.port}`;
  const [near, far]: [number[], number[]] = [[], []];
  const closeAll = () => {
    for (const fd of [...near.splice(0), ...far.splice(0)]) close(fd);
  };
  const listener = withNamespace(to, () => check(listenTcp(target, count), "listen", what));
  try {
    for (let i = 0; i < count; i++)
      near.push(withNamespace(from, () => check(connectTcp(target), "connect", what)));
    for (const end = performance.now() + PATIENCE; far.length < count; ) {
      for (let fd = acceptTcp(listener); fd >= 0; fd = acceptTcp(listener)) far.push(fd);
      if (performance.now() > end)
        throw new Error(`${count - far.length} of ${count} connections to ${what} did not come about`);
      await pause(PAUSE, signal);
    }
  } catch (error) {
    closeAll();
    throw error;
  } finally {
    close(listener);
  }
  return { near, far, close: closeAll };
}

/** @returns the first of the ports to which a connection comes about; undefined: none does */
export async function findOpenPort(
  { from, to }: Namespaces,
  targets: readonly Endpoint[],
): Promise<Endpoint | undefined> {
  const fds: number[] = [];
  try {
    const attempts = targets.map((target) => {
      const what = `TCP port ${target.port}`;
      fds.push(withNamespace(to, () => check(listenTcp(target, 1), "listen", what)));
      const fd = withNamespace(from, () => connectTcp(target));
      if (fd >= 0) fds.push(fd);
      return { target, fd, state: fd < 0 ? fd : 0 };
    });
    let seen = false;
    for (const end = performance.now() + PATIENCE; performance.now() < end; await pause(PAUSE)) {
      for (const attempt of attempts) if (attempt.state === 0) attempt.state = connectionState(attempt.fd);
      // Once more after the first has come about, for the order in which they do says nothing.
      if (seen || attempts.every(({ state }) => state < 0)) break;
      seen = attempts.some(({ state }) => state > 0);
    }
    return attempts.find(({ state }) => state > 0)?.target;
  } finally {
    for (const fd of fds) close(fd);
  }
}
