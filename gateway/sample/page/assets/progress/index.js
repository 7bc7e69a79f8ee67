/** The whole without React: for pages without a framework, and for others. */
export { ProgressClient } from "./client.js";
export { FAILURES, RETRY_CODES } from "./failure.js";
export { backoff, POLICY } from "./policy.js";
export { gatewayCode, parseProgress } from "./progress.js";
export { advance, IDLE, isRunning, } from "./run.js";
export { requestToken, TokenError } from "./token.js";
