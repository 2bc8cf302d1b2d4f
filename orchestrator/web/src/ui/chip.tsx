import type { Run } from "../types";

export type Tone = "good" | "bad" | "warn" | "busy" | "quiet";

const TONES: Record<string, Tone> = {
  promoted: "good",
  rolled_back: "warn",
  stopped: "quiet",
  rollback_failed: "bad",
  checking: "busy",
  running: "busy",
  watching: "busy",
  rolling_back: "warn",
  pass: "good",
  fail: "bad",
  inconclusive: "warn",
  done: "good",
  current: "busy",
  todo: "quiet",
  skipped: "quiet",
  cut: "warn",
  enabled: "good",
  disabled: "quiet",
  killed: "bad",
};

const SIGNS: Record<Tone, string> = { good: "✓", bad: "✕", warn: "!", busy: "▸", quiet: "·" };

/** A word of the controller's in its colour, and with a sign for who sees none. */
export function Chip({ word, tone }: { word: string; tone?: Tone }) {
  const shown = tone ?? TONES[word] ?? "quiet";
  return (
    <span class={`chip ${shown}`}>
      <span aria-hidden="true">{SIGNS[shown]} </span>
      {word.replaceAll("_", " ")}
    </span>
  );
}

/** How a run stands: its outcome, or its phase, and whether something holds it. */
export function RunChip({ run }: { run: Pick<Run, "phase" | "outcome" | "holds"> }) {
  const isHeld = run.outcome === null && (run.holds?.length ?? 0) > 0;
  return (
    <span class="chips">
      <Chip word={run.outcome ?? run.phase} />
      {isHeld && <Chip word="held" tone="warn" />}
    </span>
  );
}
