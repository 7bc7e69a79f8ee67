export * from "./core/index.js";
export {
  type Labels,
  ProgressIndicator,
  type ProgressIndicatorProps,
} from "./ProgressIndicator.js";
export { type SSEProgress, type SSEProgressOptions, useSSEProgress } from "./useSSEProgress.js";
