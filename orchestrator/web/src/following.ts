// One run, followed: how it stands, what may be asked of it, its course and its journal. The stream of its journal says
// when to look again; beside that everything is looked at every few seconds, since evidence grows without an entry, and
// some proxies let no stream through.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { read, runPath } from "./api";
import { type Freshness, follow, fresh, stale, usePolled } from "./live";
import type { Course, Offers, Status, Told } from "./types";

const STATUS_SECONDS = 2;
const OFFERS_SECONDS = 5;
const ENDED_SECONDS = 30;
const PACE_MS = 250;
const PAGE_ENTRIES = 100;
const MOST_ENTRIES = 500;

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
  const [journal, setJournal] = useState<Freshness>(fresh);
  const known = useRef<Course | null>(null);

  const keep = (found: Course): void => {
    known.current = found;
    setCourse(found);
  };

  const readOn = useMemo(
    () =>
      oneAtATime(async () => {
        const after = known.current?.seq ?? 0;
        const limit = known.current === null ? PAGE_ENTRIES : MOST_ENTRIES;
        try {
          const found = await read<Course>(runPath(run, `/timeline?after=${after}&limit=${limit}`));
          keep(known.current === null ? found : joined(found, known.current));
          setJournal(fresh());
        } catch (error) {
          setJournal((before) => stale(before, error));
        }
      }),
    [run],
  );

  const refresh = useMemo(
    () =>
      paced(() => {
        status.refresh();
        offers.refresh();
        void readOn();
      }, PACE_MS),
    [run],
  );

  useEffect(() => {
    let end = (): void => undefined;
    let isGone = false;
    let again: ReturnType<typeof setTimeout> | undefined;
    const begin = async (): Promise<void> => {
      await readOn();
      if (isGone) return;
      if (known.current === null) {
        again = setTimeout(() => void begin(), STATUS_SECONDS * 1000);
        return;
      }
      end = follow(run, known.current.seq, {
        entry: refresh,
        broken: refresh, // whether what is shown is old is known when it was asked for
        ended: () => {
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

  useEffect(() => {
    const isBehind = known.current !== null && (status.value?.seq ?? 0) > known.current.seq;
    if (isBehind) void readOn();
  }, [status.value]);

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
    freshness: [status.freshness, offers.freshness, journal].find((one) => one.why !== "") ?? status.freshness,
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

/** Of entries that come the newest first. */
function withoutDoubles(entries: Told[]): Told[] {
  let last = Infinity;
  return entries.filter(({ seq }) => {
    const isNew = seq < last;
    last = Math.min(last, seq);
    return isNew;
  });
}

/** Who asks while it is under way has it done once more, afterwards. */
function oneAtATime(act: () => Promise<void>): () => Promise<void> {
  let isUnderWay = false;
  let isWanted = false;
  return async () => {
    isWanted = true;
    if (isUnderWay) return;
    isUnderWay = true;
    while (isWanted) {
      isWanted = false;
      await act();
    }
    isUnderWay = false;
  };
}

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
