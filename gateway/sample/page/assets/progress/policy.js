import { RETRY_CODES } from "./failure.js";
export const POLICY = {
    reconnect: true,
    maxAttempts: 10,
    minDelay: 1_000,
    maxDelay: 30_000,
    stableAfter: 10_000,
    retryCodes: RETRY_CODES,
};
/**
 * The wait before the given attempt (1, 2, ...): it doubles each time, and half of it is chance, so
 * that browsers which lost the same gateway do not all come back at once.
 *
 * `random` is in [0, 1). With the defaults: 1-2 s, 2-4 s, 4-8 s, 8-16 s, then 15-30 s.
 */
export function backoff(attempt, random, { minDelay, maxDelay }) {
    const longest = Math.min(maxDelay, minDelay * 2 ** attempt);
    return Math.min(maxDelay, Math.max(minDelay, (longest * (1 + random)) / 2));
}
