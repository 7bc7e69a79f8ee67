import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { requestToken, TokenError } from "../src/core/token.js";

const url = new URL("https://gateway.example/api/stream?x=1");
const answers = vi.fn<typeof fetch>();

beforeEach(() => vi.stubGlobal("fetch", answers));
afterEach(() => {
  vi.unstubAllGlobals();
  answers.mockReset();
});

const ask = (endpoint = "/auth/stream-token") =>
  requestToken(endpoint, { url, signal: new AbortController().signal });

const answer = (status: number, body: unknown) =>
  answers.mockResolvedValue(new Response(JSON.stringify(body), { status }));

test("the token of the gateway that serves the endpoint is asked for, bound to its path", async () => {
  answer(200, { token: "one-use", expires_in: 60 });
  expect(await ask()).toBe("one-use");
  const [asked, init] = answers.mock.calls[0] ?? [];
  expect(String(asked)).toBe("https://gateway.example/auth/stream-token");
  expect(init).toMatchObject({ method: "POST", credentials: "include" });
  expect(JSON.parse(String(init?.body))).toEqual({ path: "/api/stream" });
});

test("an absolute token endpoint is taken as it is", async () => {
  answer(200, { token: "t" });
  await ask("https://login.example/token");
  expect(String(answers.mock.calls[0]?.[0])).toBe("https://login.example/token");
});

test.each([
  [401, true],
  [403, true],
  [404, true],
  [429, false],
  [500, false],
  [503, false],
])("status %i is final: %s", async (status, isFinal) => {
  answer(status, { detail: "Because." });
  await expect(ask()).rejects.toMatchObject({
    isFinal,
    message: `The request for a token was refused with status ${status}: Because.`,
  });
});

test.each([{}, { token: "" }, { token: 7 }, null])("an answer of %j has no token", async (body) => {
  answer(200, body);
  await expect(ask()).rejects.toBeInstanceOf(TokenError);
});

test("a refusal that is not JSON is a refusal all the same", async () => {
  answers.mockResolvedValue(new Response("<h1>Bad gateway</h1>", { status: 502 }));
  await expect(ask()).rejects.toMatchObject({
    isFinal: false,
    message: "The request for a token was refused with status 502.",
  });
});
