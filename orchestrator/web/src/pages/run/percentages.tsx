const MOST_SHOWN = 6;

/** Where each flag stands now: those on their way first, and of many the rest on request. */
export function Percentages({ percentages }: { percentages: Record<string, number> }) {
  const flags = Object.entries(percentages).sort(
    ([one, of], [other, ofOther]) => rank(of) - rank(ofOther) || one.localeCompare(other),
  );
  if (flags.length === 0) return null;
  return (
    <>
      <Flags flags={flags.slice(0, MOST_SHOWN)} label="Percentages now" />
      {flags.length > MOST_SHOWN && (
        <details>
          <summary>{flags.length - MOST_SHOWN} more flags</summary>
          <Flags flags={flags.slice(MOST_SHOWN)} label="Percentages of the other flags" />
        </details>
      )}
    </>
  );
}

const rank = (percentage: number): number => (percentage > 0 && percentage < 100 ? 0 : percentage === 100 ? 1 : 2);

function Flags({ flags, label }: { flags: readonly (readonly [string, number])[]; label: string }) {
  return (
    <ul class="exposure" aria-label={label}>
      {flags.map(([flag, percentage]) => (
        <li key={flag}>
          <b>{percentage} %</b> <span>{flag}</span>
        </li>
      ))}
    </ul>
  );
}
