import fc from "fast-check";
import { expect, test } from "vitest";
import { gatewayCode, parseProgress } from "../src/core/progress.js";

test("a whole report is read as it is", () => {
  const report = { status: "processing", progress: 40, message: "m", step: "s", data: [1] };
  expect(parseProgress(JSON.stringify(report))).toEqual(report);
});

test.each([
  "",
  "not JSON",
  "null",
  "[]",
  "7",
  '"processing"',
  "{}",
  '{"status":"paused","progress":1}',
  '{"status":["processing"]}',
])("what is no report is told as none: %s", (text) => {
  expect(parseProgress(text)).toBeNull();
});

test.each([
  ["-5", 0],
  ["1e999", 100],
  ["250", 100],
  ["99.5", 99.5],
  ['"12"', 30],
  ["null", 30],
])("a percent of %s is taken as %s", (given, taken) => {
  const text = `{"status":"processing","progress":${given}}`;
  expect(parseProgress(text, 30)?.progress).toBe(taken);
});

test("a completed job is at 100 percent, whatever it says", () => {
  expect(parseProgress('{"status":"completed","progress":3}')?.progress).toBe(100);
});

test("whatever comes, a report that is taken is whole and within bounds", () => {
  const field = fc.oneof(fc.jsonValue(), fc.double());
  const status = fc.oneof(fc.constantFrom("processing", "completed", "error"), fc.jsonValue());
  const anyReport = fc.record(
    { status, progress: field, message: field, step: field, data: field },
    { requiredKeys: [] },
  );
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    anyReport.map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(text, (text) => {
      const report = parseProgress(text, 30);
      if (report === null) return;
      expect(["processing", "completed", "error"]).toContain(report.status);
      expect(report.progress).toBeGreaterThanOrEqual(0);
      expect(report.progress).toBeLessThanOrEqual(100);
      expect(typeof report.message).toBe("string");
      expect(typeof report.step).toBe("string");
    }),
  );
});

test("the gateway's code is read from its own errors alone", () => {
  const error = { status: "error", progress: 0, message: "", step: "gateway" } as const;
  expect(gatewayCode({ ...error, data: { code: "draining" } })).toBe("draining");
  expect(gatewayCode({ ...error, step: "saving", data: { code: "draining" } })).toBeNull();
  expect(gatewayCode({ ...error, status: "processing", data: { code: "draining" } })).toBeNull();
  expect(gatewayCode({ ...error, data: { code: 7 } })).toBeNull();
  expect(gatewayCode(error)).toBeNull();
});
