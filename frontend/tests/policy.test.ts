import fc from "fast-check";
import { expect, test } from "vitest";
import { backoff, POLICY } from "../src/core/policy.js";

test("the wait doubles from one second up to thirty", () => {
  const earliest = [1, 2, 3, 4, 5, 6, 50].map((attempt) => backoff(attempt, 0, POLICY));
  expect(earliest).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  expect(backoff(50, 0.999_999, POLICY)).toBeCloseTo(30_000, 0);
});

test("every wait is within the bounds, however far the attempts go", () => {
  const attempt = fc.integer({ min: 1, max: 5_000 });
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(attempt, random, (attempt, random) => {
      const wait = backoff(attempt, random, POLICY);
      expect(wait).toBeGreaterThanOrEqual(POLICY.minDelay);
      expect(wait).toBeLessThanOrEqual(POLICY.maxDelay);
    }),
  );
});

test("two browsers that lose the same gateway come back at different times", () => {
  expect(backoff(1, 0.1, POLICY)).not.toBe(backoff(1, 0.9, POLICY));
});
