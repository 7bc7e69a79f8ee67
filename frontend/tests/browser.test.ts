// @vitest-environment jsdom

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { BROWSER } from "../src/core/browser.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("a wait ends at its time, once", () => {
  const done = vi.fn();
  BROWSER.wait(1_000, done);
  vi.advanceTimersByTime(999);
  expect(done).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  window.dispatchEvent(new Event("online"));
  expect(done).toHaveBeenCalledOnce();
});

test("a network that comes back cuts a wait short", () => {
  const done = vi.fn();
  BROWSER.wait(1_000, done);
  window.dispatchEvent(new Event("online"));
  vi.runAllTimers();
  expect(done).toHaveBeenCalledOnce();
});

test("a wait that is stopped never ends", () => {
  const done = vi.fn();
  BROWSER.wait(1_000, done)();
  vi.runAllTimers();
  window.dispatchEvent(new Event("online"));
  expect(done).not.toHaveBeenCalled();
});
