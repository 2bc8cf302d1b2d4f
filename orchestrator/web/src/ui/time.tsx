import { useNow } from "../live";

const UNITS: readonly [string, number][] = [
  ["d", 86_400],
  ["h", 3_600],
  ["m", 60],
  ["s", 1],
];

/** Two units at most: 2d 3h, 5m 10s, 0s. */
export function duration(seconds: number): string {
  let rest = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(`${count}${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ") || "0s";
}

/** 2026-03-01 12:00:05 UTC */
export const utc = (iso: string): string => `${iso.slice(0, 19).replace("T", " ")} UTC`;

/** The time of day where that is enough, else the date too; always UTC, as logs are. */
export function clock(iso: string): string {
  const isToday = iso.slice(0, 10) === new Date().toISOString().slice(0, 10);
  return isToday ? `${iso.slice(11, 19)} UTC` : utc(iso);
}

/** How long ago, or in how long. The whole time is its title. */
export function Age({ at, suffix = " ago" }: { at: string | null; suffix?: string }) {
  const now = useNow();
  if (at === null) return <span>–</span>;
  const seconds = (now - Date.parse(at)) / 1000;
  const words = seconds >= 0 ? `${duration(seconds)}${suffix}` : `in ${duration(-seconds)}`;
  return (
    <time dateTime={at} title={utc(at)}>
      {words}
    </time>
  );
}

export function Clock({ at }: { at: string | null }) {
  if (at === null) return <span>–</span>;
  return (
    <time dateTime={at} title={utc(at)}>
      {clock(at)}
    </time>
  );
}
