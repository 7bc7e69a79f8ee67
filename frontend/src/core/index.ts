/** The whole without React: for pages without a framework, and for others. */

export type { Browser } from "./browser.js";
export { type ClientOptions, ProgressClient } from "./client.js";
export { FAILURES, type Failure, RETRY_CODES } from "./failure.js";
export { backoff, POLICY, type Policy } from "./policy.js";
export { gatewayCode, type Progress, parseProgress } from "./progress.js";
export {
  type Action,
  advance,
  IDLE,
  isRunning,
  type Signal,
  type State,
  type Status,
} from "./run.js";
export { type GetToken, requestToken, TokenError, type TokenRequest } from "./token.js";
