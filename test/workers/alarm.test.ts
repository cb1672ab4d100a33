// How late a worker wakes is learned from its own sleeps.
import { expect, test } from "vitest";
import { Alarm } from "../../src/workers/alarm.ts";

test("nothing is said of how late it usually wakes before it has been measured", () => {
  const alarm = new Alarm();
  expect(alarm.usual).toBe(0);
  // A packet ended that sleep before its time.
  alarm.woke(1000, 900);
  expect(alarm.usual).toBe(0);
});

test("it follows what is measured, and wakes so much earlier and a half more", () => {
  const alarm = new Alarm();
  for (let i = 0; i < 100; i++) alarm.woke(0, 80e3);
  expect(Math.abs(alarm.usual - 80e3)).toBeLessThan(1e3);
  expect(Math.abs(alarm.early - 120e3)).toBeLessThan(2e3);
  for (let i = 0; i < 100; i++) alarm.woke(0, 10e9);
  // A thread that somebody else kept from the processor says little of how long waking takes.
  expect(alarm.usual).toBeLessThanOrEqual(250e3);
  expect(alarm.early).toBeLessThanOrEqual(250e3);
});
