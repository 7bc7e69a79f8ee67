/** What a token is wanted for. */
export interface TokenRequest {
  /** The endpoint as it was given. */
  readonly endpoint: string;
  /** The absolute URL of the endpoint. */
  readonly url: URL;
  /** Aborted when the run ends before the token is there. */
  readonly signal: AbortSignal;
}

/**
 * Gets a fresh token for one connection; null where none goes into the URL, as with a cookie.
 * May reject: with a TokenError that is final to end the run, with anything else to try again.
 */
export type GetToken = (request: TokenRequest) => Promise<string | null>;

/** No token could be had. The message is for the person at the browser. */
export class TokenError extends Error {
  override readonly name = "TokenError";

  constructor(
    message: string,
    /** Asking again would not help: the person must sign in, or has no right to it. */
    readonly isFinal: boolean,
  ) {
    super(message);
  }
}

const PASSING = [408, 425, 429];

/**
 * Asks the gateway for a token that opens one path, once: `POST {"path"}` with the session's cookie
 * gives `{"token", "expires_in"}`. A relative `tokenEndpoint` is of the gateway that serves the
 * endpoint. Rejects with a TokenError, or as fetch does where nothing answers.
 */
export async function requestToken(
  tokenEndpoint: string,
  { url, signal }: Pick<TokenRequest, "url" | "signal">,
): Promise<string> {
  const response = await fetch(new URL(tokenEndpoint, url), {
    method: "POST",
    credentials: "include",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ path: url.pathname }),
    signal,
  });
  const body = await response.json().catch(() => null);
  if (!response.ok) throw refusal(response.status, body?.detail);
  if (typeof body?.token === "string" && body.token !== "") return body.token;
  throw new TokenError("No token could be had: the answer to the request has none.", true);
}

function refusal(status: number, detail: unknown): TokenError {
  const isFinal = status < 500 && !PASSING.includes(status);
  const reason = typeof detail === "string" ? `: ${detail}` : ".";
  return new TokenError(
    `The request for a token was refused with status ${status}${reason}`,
    isFinal,
  );
}
