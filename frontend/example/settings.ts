import { type GetToken, TokenError } from "gateway-progress";

/** What the page's own query asks for. All of it has a default that fits `gateway demo`. */
export interface Settings {
  /** The stream; at a gateway of another origin where it is absolute. */
  readonly endpoint: string;
  readonly tokenEndpoint: string;
  /** Where a token comes from: the demo's log-in, the gateway's token endpoint, or nowhere. */
  readonly tokenFrom: "login" | "endpoint" | "cookie";
  readonly reconnect: boolean;
  readonly autoStart: boolean;
  readonly maxAttempts: number;
}

export function settingsOf(query: URLSearchParams): Settings {
  const { steps = "20", seconds = "10", fail = "0" } = Object.fromEntries(query);
  const order = new URLSearchParams({ steps, seconds, fail });
  return {
    endpoint: query.get("endpoint") ?? `/api/v1/process/stream?${order}`,
    tokenEndpoint: query.get("tokenEndpoint") ?? "/auth/stream-token",
    tokenFrom: (query.get("tokenFrom") ?? "login") as Settings["tokenFrom"],
    reconnect: query.get("reconnect") !== "0",
    autoStart: query.get("autoStart") === "1",
    maxAttempts: Number(query.get("maxAttempts") ?? 10),
  };
}

/** How to get a token; undefined where the package knows by itself. */
export function getTokenFor({ tokenFrom }: Settings): GetToken | undefined {
  if (tokenFrom === "login") return logIn;
  return tokenFrom === "cookie" ? async () => null : undefined;
}

/** The demo's log-in gives a token to anyone. It stands in for the one of your site. */
const logIn: GetToken = async ({ url, signal }) => {
  const response = await fetch(new URL("/demo/login", url), {
    method: "POST",
    credentials: "include",
    signal,
  });
  if (!response.ok) throw new TokenError("The log-in gave no token.", response.status < 500);
  const { token } = (await response.json()) as { token: string };
  return token;
};
