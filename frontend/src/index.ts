// No "use client" here: what the core exports stays usable on a server.
export * from "./core/index.js";
export {
  type Labels,
  // The same component under the other name that it is known by.
  ProgressIndicator,
  ProgressIndicator as ProcessingProgress,
  type ProgressIndicatorProps,
  type ProgressIndicatorProps as ProcessingProgressProps,
} from "./ProgressIndicator.js";
export { type SSEProgress, type SSEProgressOptions, useSSEProgress } from "./useSSEProgress.js";
