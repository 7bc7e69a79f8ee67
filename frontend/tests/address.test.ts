import fc from "fast-check";
import { expect, test } from "vitest";
import { withQuery } from "../src/core/address.js";

test.each([
  ["/stream", "/stream?token=a%20b"],
  ["stream?x=1", "stream?x=1&token=a%20b"],
  ["/stream?", "/stream?token=a%20b"],
  ["/stream?x=%2F&x=+&y", "/stream?x=%2F&x=+&y&token=a%20b"],
  ["/stream#part", "/stream?token=a%20b#part"],
  ["/stream?x=1#part?no=query", "/stream?x=1&token=a%20b#part?no=query"],
  ["https://api.example:8443/stream?x=1", "https://api.example:8443/stream?x=1&token=a%20b"],
  ["/stream?token=old&x=1&tok%65n=older", "/stream?x=1&token=a%20b"],
  ["", "?token=a%20b"],
])("%s is extended to %s", (url, extended) => {
  expect(withQuery(url, { token: "a b" })).toBe(extended);
});

test("a pair without a value changes nothing", () => {
  expect(withQuery("/stream?token=own#x", { token: null, id: "" })).toBe("/stream?token=own#x");
});

test("any value arrives as it was given, and the rest of the query stays", () => {
  const value = fc.string({ unit: "grapheme", minLength: 1 });
  const others = fc.array(fc.tuple(fc.stringMatching(/^[a-z]{1,4}$/), value), { maxLength: 4 });
  fc.assert(
    fc.property(value, others, (value, others) => {
      const query = new URLSearchParams(others.filter(([name]) => name !== "token"));
      const before = new URL(`https://site.example/stream?${query}#part`);
      const url = new URL(withQuery(before.href, { token: value }));
      expect(url.searchParams.get("token")).toBe(value);
      url.searchParams.delete("token");
      expect([...url.searchParams]).toEqual([...before.searchParams]);
      expect(url.hash).toBe("#part");
    }),
  );
});
