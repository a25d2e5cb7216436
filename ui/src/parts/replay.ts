// Hands a request from one page to the playground. Kept by the browser until it is taken, and in this tab alone.
const STORED = "tollway-replay";

export type Replay = { model?: string; system?: string; messages?: unknown[]; tools?: unknown[] };

export function leave(replay: Replay) {
  try {
    sessionStorage.setItem(STORED, JSON.stringify(replay));
  } catch {
    // too large for the browser's store: the playground begins with the model alone
    sessionStorage.setItem(STORED, JSON.stringify({ model: replay.model }));
  }
}

export function take(): Replay | null {
  const stored = sessionStorage.getItem(STORED);
  sessionStorage.removeItem(STORED);
  return stored ? (JSON.parse(stored) as Replay) : null;
}
