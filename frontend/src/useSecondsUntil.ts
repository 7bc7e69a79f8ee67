"use client";

import { useCallback, useSyncExternalStore } from "react";

/** The whole seconds until a time in milliseconds since 1970, counted down; 0 where there is none. */
export function useSecondsUntil(time: number | null): number {
  const subscribe = useCallback(
    (look: () => void) => {
      if (time === null) return () => {};
      const timer = setInterval(look, 250);
      return () => clearInterval(timer);
    },
    [time],
  );
  const seconds = () => (time === null ? 0 : Math.max(0, Math.ceil((time - Date.now()) / 1000)));
  return useSyncExternalStore(subscribe, seconds, () => 0);
}
