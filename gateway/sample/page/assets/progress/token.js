/** No token could be had. The message is for the person at the browser. */
export class TokenError extends Error {
    isFinal;
    name = "TokenError";
    constructor(message, 
    /** Asking again would not help: the person must sign in, or has no right to it. */
    isFinal) {
        super(message);
        this.isFinal = isFinal;
    }
}
const PASSING = [408, 425, 429];
/**
 * Asks the gateway for a token that opens one path, once: `POST {"path"}` with the session's cookie
 * gives `{"token", "expires_in"}`. A relative `tokenEndpoint` is of the gateway that serves the
 * endpoint. Rejects with a TokenError, or as fetch does where nothing answers.
 */
export async function requestToken(tokenEndpoint, { url, signal }) {
    const response = await fetch(new URL(tokenEndpoint, url), {
        method: "POST",
        credentials: "include",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        body: JSON.stringify({ path: url.pathname }),
        signal,
    });
    const body = await response.json().catch(() => null);
    if (!response.ok)
        throw refusal(response.status, body?.detail);
    if (typeof body?.token === "string" && body.token !== "")
        return body.token;
    throw new TokenError("No token could be had: the answer to the request has none.", true);
}
function refusal(status, detail) {
    const isFinal = status < 500 && !PASSING.includes(status);
    const reason = typeof detail === "string" ? `: ${detail}` : ".";
    return new TokenError(`The request for a token was refused with status ${status}${reason}`, isFinal);
}
