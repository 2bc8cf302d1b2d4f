import { useState } from "preact/hooks";
import { read, runPath, sentenceOf } from "../../api";
import type { Course, Entry, Told } from "../../types";
import { Alert } from "../../ui/layout";
import { Clock } from "../../ui/time";

/** Everything that was decided, the newest first, a page at a time. */
export function Journal(props: { course: Course; run: string; onEarlier: () => Promise<void> }) {
  const [isWhole, setWhole] = useState(false);
  const [isLoading, setLoading] = useState(false);
  const [refusal, setRefusal] = useState("");
  const { entries, seq, has_earlier } = props.course;
  const shown = isWhole ? entries : entries.filter((entry) => entry.what !== null);

  const loadEarlier = async (): Promise<void> => {
    setLoading(true);
    setRefusal("");
    try {
      await props.onEarlier();
    } catch (error) {
      setRefusal(sentenceOf(error));
    }
    setLoading(false);
  };

  return (
    <section aria-labelledby="journal">
      <h2 id="journal">Journal</h2>
      <p class="quiet">
        {seq} {seq === 1 ? "entry" : "entries"}.{" "}
        <label>
          <input type="checkbox" checked={isWhole} onChange={(event) => setWhole(event.currentTarget.checked)} /> also
          those that only machines need
        </label>
      </p>
      <ol class="journal" reversed start={shown[0]?.seq ?? 0}>
        {shown.map((entry) => (
          <Line key={entry.seq} entry={entry} run={props.run} />
        ))}
      </ol>
      {refusal && <Alert>{refusal}</Alert>}
      {has_earlier && (
        <button type="button" disabled={isLoading} onClick={() => void loadEarlier()}>
          {isLoading ? "Loading…" : "Earlier entries"}
        </button>
      )}
    </section>
  );
}

function Line({ entry, run }: { entry: Told; run: string }) {
  const [data, setData] = useState("");
  const open = async (): Promise<void> => {
    if (data !== "") return;
    try {
      const [whole] = await read<Entry[]>(runPath(run, `/events?after=${entry.seq - 1}&limit=1`));
      setData(JSON.stringify(whole, null, 2));
    } catch (error) {
      setData(sentenceOf(error));
    }
  };
  return (
    <li value={entry.seq}>
      <details onToggle={(event) => event.currentTarget.open && void open()}>
        <summary>
          <Clock at={entry.time} /> <span class={entry.what === null ? "quiet" : ""}>{entry.what ?? entry.type}</span>
        </summary>
        <pre>{data || "Loading…"}</pre>
      </details>
    </li>
  );
}
