// What the controller answers, as far as the pages use it; /openapi.json has all of it.

export type Phase = "checking" | "running" | "watching" | "rolling_back" | "ended";
export type Outcome = "promoted" | "rolled_back" | "stopped" | "rollback_failed";
export type Verdict = "pass" | "fail" | "inconclusive";

export interface Hold {
  reason: string;
  item?: string;
  since: string | null;
  by: string | null;
  detail: string | null;
}

/** A run as lists have it. */
export interface Run {
  run: string;
  plan: string;
  digest: string;
  phase: Phase;
  outcome: Outcome | null;
  environment: string | null;
  stage: string | null;
  step: string | null;
  started: string | null;
  ended: string | null;
  owner?: string | null;
  percentages?: Record<string, number>;
  holds?: Hold[];
}

export interface Evidence {
  against?: number | null;
  holds_at?: number | null;
  fails_at?: number | null;
  excluded?: number | null;
  excludes_at?: number | null;
  [field: string]: unknown;
}

export interface TrailPoint {
  at: string;
  against?: number | null;
  excluded?: number | null;
  value?: number | null;
  [field: string]: unknown;
}

export interface Bound {
  op: string;
  at: number;
}

export interface Criterion {
  name: string;
  verdict: Verdict;
  value: number | null;
  sentence: string | null;
  at: string | null;
  evidence?: Evidence | null;
  bounds?: { passes: Bound; fails: Bound };
  trail?: TrailPoint[];
}

export interface Waiting {
  item: string;
  kind: string;
  text: string;
  by: string[];
  until: string | null;
  approved_by?: string[];
}

export interface Stage {
  environment: string;
  name: string;
  kind: string;
  steps: string[];
  state: string;
}

export interface Progress {
  what: string;
  passed_seconds?: number;
  of_seconds?: number;
  least_seconds?: number;
  rows?: number;
  of_rows?: number | null;
  rows_per_second?: number;
  ends?: string | null;
}

export interface Escalation {
  what: string;
  severity: string;
  since: string | null;
  acknowledged_by: string | null;
  next: { at: string | null; channels: string[] } | null;
}

/** What a plan says of itself to people. */
export interface About {
  owner?: string;
  description?: string;
  links?: Record<string, string> | string[];
  contacts?: Record<string, string> | string[];
}

/** Where one run stands. */
export interface Status extends Run {
  leg: string | null;
  percentages: Record<string, number>;
  holds: Hold[];
  gate: { name: string; verdict: Verdict; on_fail?: string; criteria: Criterion[] } | null;
  next: { what: string; at: string | null };
  waiting: Waiting[];
  exceptions: string[];
  pins: { flag: string; source: string; keys: string[]; kept: boolean }[];
  stages: Stage[];
  progress: Progress | null;
  rollback: {
    cause: string;
    by: string;
    reason: string;
    since: string | null;
    scope: string;
    nodes: { id: string; kind: string; target: string | null; result: string | null; detail: string }[];
    left: string[];
  } | null;
  stays_on_rollback: string[];
  frozen?: { environment: string; by: string; reason: string; at: string; until: string | null }[];
  notifications: {
    escalations: Escalation[];
    failing: { channel: string; since: string | null; detail: string }[];
    waiting: number;
  };
  author: string | null;
  about: About;
  seq: number;
  store_error?: string | null;
  controller?: string | null;
}

/** What an entry of a journal is. */
export interface Entry {
  seq: number;
  time: string;
  type: string;
  by: string;
  reason: string;
  data: Record<string, unknown>;
}

/** An entry with its sentence, which is null where only machines need it. */
export interface Told {
  seq: number;
  time: string;
  type: string;
  by: string;
  reason: string;
  what: string | null;
}

/** How a run came to stand where it does; entries are the newest first. */
export interface Course {
  run: string;
  seq: number;
  exposure: { environment: string; flag: string; points: [string, number][] }[];
  marks: { seq: number; time: string; type: string; what: string }[];
  entries: Told[];
  has_earlier: boolean;
}

/** What a command is answered. */
export interface Accepted {
  run: string;
  command: string;
  seq: number;
  run_started: string | null;
}

/** A command that the one who is signed in could give, with its arguments. */
export interface Offer {
  command: string;
  item: string | null;
  stage: string | null;
  flag: string | null;
  pin: string | null;
  target: string | null;
  taken_as: string;
  trigger: string | null;
  with_schema: boolean;
  not_applicable: boolean;
  what: string;
  refused: string | null;
  returns: string[];
  stays: string[];
}

export interface Offers {
  actor: { name: string; role: string; groups: string[] };
  commands: Offer[];
}
