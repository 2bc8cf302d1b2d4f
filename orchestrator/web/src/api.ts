// Asking the controller. Whoever is signed in is known by the cookie; whatever changes something brings the session's
// form token, which stands in the page's head, so that no other site can ask in his name.

export interface Problem {
  message: string;
  [field: string]: unknown;
}

/** A refusal: its message is the controller's own sentence. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly kind: string,
    readonly problems: readonly Problem[] = [],
  ) {
    super(message);
  }

  /** Whether the session is over. */
  get isSignedOut(): boolean {
    return this.status === 401;
  }
}

export interface Me {
  name: string;
  role: string;
  groups: string[];
  csrf: string | null;
}

const SECONDS = 20;

export const meta = (name: string): string =>
  document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)?.content ?? "";

/** The JSON of a path; *signal* gives it up. Throws `Refusal`. */
export async function read<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await answered(path, { headers: { Accept: "application/json" }, signal: limited(signal) })).json();
}

/** A text of a path, such as a report in Markdown. Throws `Refusal`. */
export async function readText(path: string, accept: string): Promise<string> {
  return (await answered(path, { headers: { Accept: accept }, signal: limited() })).text();
}

/** Asks for a change. The same *key* again gets the first answer again, and nothing is done twice. Throws `Refusal`. */
export async function send<T>(
  method: "POST" | "PUT" | "PATCH" | "DELETE",
  path: string,
  body: unknown = undefined,
  key: string | null = null,
): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json", "X-CSRF-Token": meta("csrf") };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key !== null) headers["Idempotency-Key"] = key;
  const answer = await answered(path, {
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
    signal: limited(),
  });
  return answer.json();
}

/** For one intent of a person: sent again with it, a command is carried out once. Works without a secure context. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const runPath = (run: string, rest = ""): string => `/api/v1/runs/${encodeURIComponent(run)}${rest}`;
export const runPage = (run: string, rest = ""): string => `/runs/${encodeURIComponent(run)}${rest}`;
export const signInPage = (): string => `/sign-in?page=${encodeURIComponent(location.pathname)}`;

/** One sentence for a person, of whatever was thrown. */
export function sentenceOf(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  if (error instanceof DOMException && error.name === "TimeoutError")
    return `The controller did not answer within ${SECONDS} seconds.`;
  if (error instanceof TypeError) return "The controller can't be reached.";
  return error instanceof Error ? error.message : String(error);
}

function limited(signal?: AbortSignal): AbortSignal {
  const limit = AbortSignal.timeout(SECONDS * 1000);
  return signal === undefined ? limit : AbortSignal.any([signal, limit]);
}

async function answered(path: string, init: RequestInit): Promise<Response> {
  const answer = await fetch(path, { credentials: "same-origin", redirect: "error", cache: "no-store", ...init });
  if (!answer.ok) throw await refusalOf(answer);
  return answer;
}

export async function refusalOf(answer: Response): Promise<Refusal> {
  let said: { error?: unknown; message?: unknown; problems?: unknown } = {};
  try {
    said = await answer.json();
  } catch {
    // not ours: a proxy's page, say
  }
  const message =
    typeof said.message === "string"
      ? said.message
      : `The controller, or a proxy before it, answered ${answer.status} ${answer.statusText}.`;
  const problems = Array.isArray(said.problems) ? (said.problems as Problem[]) : [];
  return new Refusal(message, answer.status, typeof said.error === "string" ? said.error : "", problems);
}
