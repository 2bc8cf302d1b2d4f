// One run, followed: how it stands, what may be asked of it, its course and its journal. The stream of its journal says
// when to look again; beside that everything is looked at every few seconds, since evidence grows without an entry.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { read, runPath } from "./api";
import { type Freshness, follow, fresh, stale, usePolled } from "./live";
import type { Course, Offers, Status, Told } from "./types";

const STATUS_SECONDS = 2;
const OFFERS_SECONDS = 5;
const ENDED_SECONDS = 30;
const PACE_MS = 250;
export const PAGE_ENTRIES = 100;

export interface Followed {
  status: Status | null;
  offers: Offers | null;
  course: Course | null;
  freshness: Freshness;
  /** Looks at everything again, now. */
  refresh: () => void;
  /** Loads the page of the journal before the ones that are there. */
  loadEarlier: () => Promise<void>;
}

export function useRun(run: string): Followed {
  const [isOver, setOver] = useState(false);
  const status = usePolled<Status>(runPath(run), isOver ? ENDED_SECONDS : STATUS_SECONDS);
  const offers = usePolled<Offers>(runPath(run, "/commands"), isOver ? ENDED_SECONDS : OFFERS_SECONDS);
  const [course, setCourse] = useState<Course | null>(null);
  const [streamed, setStreamed] = useState<Freshness>(fresh);
  const known = useRef<Course | null>(null);

  const keep = (found: Course): void => {
    known.current = found;
    setCourse(found);
  };

  const readOn = useMemo(() => {
    let isReading = false;
    return async (): Promise<void> => {
      const before = known.current;
      if (isReading) return;
      isReading = true;
      try {
        const after = before?.seq ?? 0;
        const limit = before === null ? PAGE_ENTRIES : 500;
        const found = await read<Course>(runPath(run, `/timeline?after=${after}&limit=${limit}`));
        keep(before === null ? found : joined(found, before));
      } finally {
        isReading = false;
      }
    };
  }, [run]);

  const refresh = useMemo(
    () =>
      paced(() => {
        status.refresh();
        offers.refresh();
        readOn().catch((error: unknown) => setStreamed((before) => stale(before, error)));
      }, PACE_MS),
    [run],
  );

  useEffect(() => {
    let end = (): void => undefined;
    let isGone = false;
    let again: ReturnType<typeof setTimeout> | undefined;
    const begin = async (): Promise<void> => {
      try {
        await readOn();
      } catch (error) {
        setStreamed((before) => stale(before, error));
        again = setTimeout(() => void begin(), 2000);
        return;
      }
      if (isGone) return;
      end = follow(run, known.current?.seq ?? 0, {
        entry: refresh,
        fresh: () => setStreamed(fresh()),
        stale: (error) => setStreamed((before) => stale(before, error)),
        ended: () => {
          setStreamed(fresh());
          setOver(true);
          refresh();
        },
      });
    };
    void begin();
    return () => {
      isGone = true;
      clearTimeout(again);
      end();
    };
  }, [run]);

  const loadEarlier = async (): Promise<void> => {
    const oldest = known.current?.entries.at(-1)?.seq;
    if (oldest === undefined) return;
    const found = await read<Course>(runPath(run, `/timeline?before=${oldest}&limit=${PAGE_ENTRIES}`));
    const now = known.current;
    if (now === null) return;
    keep({ ...now, entries: withoutDoubles([...now.entries, ...found.entries]), has_earlier: found.has_earlier });
  };

  return {
    status: status.value,
    offers: offers.value,
    course,
    freshness: worse(status.freshness, isOver ? status.freshness : streamed),
    refresh,
    loadEarlier,
  };
}

/** What was read on, before what was there. Where entries lie between, as after a long sleep, those before are let go. */
function joined(found: Course, before: Course): Course {
  const isGap = (found.entries.at(-1)?.seq ?? before.seq + 1) > before.seq + 1;
  return {
    ...found,
    entries: isGap ? found.entries : withoutDoubles([...found.entries, ...before.entries]),
    has_earlier: isGap || before.has_earlier,
  };
}

const withoutDoubles = (entries: Told[]): Told[] =>
  entries.filter((entry, index) => index === 0 || entry.seq < (entries[index - 1]?.seq ?? 0));

const worse = (one: Freshness, other: Freshness): Freshness => {
  if (one.why === "") return other.why === "" ? one : other;
  return other.why !== "" && other.since < one.since ? other : one;
};

/** At once, and then at most every *ms*. */
function paced(act: () => void, ms: number): () => void {
  let last = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  return () => {
    if (timer !== undefined) return;
    timer = setTimeout(
      () => {
        timer = undefined;
        last = performance.now();
        act();
      },
      Math.max(0, last + ms - performance.now()),
    );
  };
}
