// Following what the controller says. A stream is read with fetch rather than EventSource, which hides heartbeats and
// refusals: a line that is dead, and a session that is over, must be seen.

import { useEffect, useRef, useState } from "preact/hooks";
import { Refusal, read, refusalOf, runPath, sentenceOf } from "./api";
import type { Entry } from "./types";

/** Whether what is shown is what is: `since` is when it last was, in milliseconds; `why` is empty while it still is. */
export interface Freshness {
  since: number;
  why: string;
  isSignedOut: boolean;
}

export const fresh = (): Freshness => ({ since: Date.now(), why: "", isSignedOut: false });
export const stale = (before: Freshness, error: unknown): Freshness => ({
  since: before.since,
  why: sentenceOf(error),
  isSignedOut: error instanceof Refusal && error.isSignedOut,
});

const SILENCE_MS = 40_000; // the server sends a heartbeat every 15 s
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
const PAUSE_PER_ANSWER = 5;

/** The journal of a run behind *after*, as it grows. Comes back by itself until it is told to end. */
export function follow(
  run: string,
  after: number,
  told: { entry: (entry: Entry) => void; ended: () => void; broken: (error: unknown) => void },
): () => void {
  const ending = new AbortController();
  void (async () => {
    let last = after;
    let pause = FIRST_PAUSE_MS;
    while (!ending.signal.aborted) {
      try {
        const isOver = await readStream(run, last, ending.signal, (entry) => {
          pause = FIRST_PAUSE_MS;
          if (entry === null) return;
          last = entry.seq;
          told.entry(entry);
        });
        if (isOver) return told.ended();
        throw new TypeError("The stream ended.");
      } catch (error) {
        if (ending.signal.aborted) return;
        told.broken(error);
        if (error instanceof Refusal && error.isSignedOut) return;
      }
      await paused(pause, ending.signal);
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  })();
  return () => ending.abort();
}

/** True when the run has ended and everything was told. *heard* gets each entry, and null for a sign of life. */
async function readStream(
  run: string,
  last: number,
  ending: AbortSignal,
  heard: (entry: Entry | null) => void,
): Promise<boolean> {
  const silence = new AbortController();
  const end = () => silence.abort();
  ending.addEventListener("abort", end);
  let watch = setTimeout(end, SILENCE_MS);
  try {
    const answer = await fetch(runPath(run, "/events"), {
      headers: { Accept: "text/event-stream", "Last-Event-ID": String(last) },
      credentials: "same-origin",
      cache: "no-store",
      signal: silence.signal,
    });
    if (answer.status === 204) return true;
    if (!answer.ok) throw await refusalOf(answer);
    if (answer.body === null) throw new TypeError("The stream has no body.");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      clearTimeout(watch);
      watch = setTimeout(end, SILENCE_MS);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const lines = block.split("\n");
        if (lines.includes("event: end")) return true;
        const data = lines.find((line) => line.startsWith("data: "));
        heard(data === undefined ? null : (JSON.parse(data.slice(6)) as Entry));
      }
    }
  } finally {
    clearTimeout(watch);
    ending.removeEventListener("abort", end);
    silence.abort();
  }
}

function paused(ms: number, ending: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    ending.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

export interface Polled<T> {
  value: T | null;
  freshness: Freshness;
  /** Asks again now, or right after what is under way. */
  refresh: () => void;
}

/**
 * What a path answers, asked again every *seconds* while the page is looked at; less often where answers take long, as
 * long lists do on a slow line. What was known stays when it fails.
 */
export function usePolled<T>(path: string, seconds: number): Polled<T> {
  const [value, setValue] = useState<T | null>(null);
  const [freshness, setFreshness] = useState<Freshness>(fresh);
  const ask = useRef<() => void>(() => undefined);

  useEffect(() => {
    const ending = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isAsking = false;
    let isWanted = false;
    const once = async (): Promise<void> => {
      if (isAsking) {
        isWanted = true;
        return;
      }
      clearTimeout(timer);
      isAsking = true;
      const began = performance.now();
      let isOver = false;
      do {
        isWanted = false;
        try {
          const found = await read<T>(path, ending.signal);
          if (ending.signal.aborted) return;
          setValue(found);
          setFreshness(fresh());
        } catch (error) {
          if (ending.signal.aborted) return;
          setFreshness((before) => stale(before, error));
          isOver = error instanceof Refusal && error.isSignedOut;
        }
      } while (isWanted && !isOver);
      isAsking = false;
      const pause = Math.max(seconds * 1000, Math.min(PAUSE_PER_ANSWER * (performance.now() - began), LONGEST_PAUSE_MS));
      if (!isOver && !document.hidden) timer = setTimeout(() => void once(), pause);
    };
    const seen = (): void => {
      if (!document.hidden) void once();
    };
    ask.current = () => void once();
    document.addEventListener("visibilitychange", seen);
    void once();
    return () => {
      document.removeEventListener("visibilitychange", seen);
      clearTimeout(timer);
      ending.abort();
    };
  }, [path, seconds]);

  return { value, freshness, refresh: () => ask.current() };
}

/** The time now in milliseconds, anew every second while the page is looked at: for ages that count. One clock for all. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    listeners.add(setNow);
    if (listeners.size === 1) ticking = setInterval(tick, 1000);
    return () => {
      listeners.delete(setNow);
      if (listeners.size === 0) clearInterval(ticking);
    };
  }, []);
  return now;
}

const listeners = new Set<(now: number) => void>();
let ticking: ReturnType<typeof setInterval> | undefined;

function tick(): void {
  if (document.hidden) return;
  const now = Date.now();
  for (const listener of listeners) listener(now);
}
