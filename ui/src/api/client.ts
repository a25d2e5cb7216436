// Asks the gateway. The cookie goes along by itself; whatever changes something also shows the session's token.
import { QueryClient } from "@tanstack/react-query";
import type { SessionState } from "./types";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export const SESSION = ["session"] as const;

let csrf = "";

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      retry: (failures, error) => failures < 2 && !(error instanceof ApiError && error.status < 500),
      refetchOnWindowFocus: false,
      staleTime: 10_000,
    },
  },
});

/** Whether somebody was signed in since this page was loaded. */
export const was = { signedIn: false };

export function took(session: SessionState): SessionState {
  was.signedIn ||= session.signed_in;
  csrf = session.csrf ?? "";
  return session;
}

type Value = string | number | boolean | null | undefined;

export function pathWith(path: string, query: Record<string, Value> = {}): string {
  const written = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") written.set(name, String(value));
  }
  const text = written.toString();
  return text ? `${path}?${text}` : path;
}

export async function send(method: string, path: string, body?: unknown, signal?: AbortSignal, more: Record<string, string> = {}): Promise<Response> {
  const headers: Record<string, string> = { ...more };
  if (method !== "GET") headers["x-tollway-csrf"] = csrf;
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "same-origin",
    signal,
  });
  if (!answer.ok) {
    const error = new ApiError(answer.status, await said(answer));
    // The session is over: whoever is signed in sees the sign-in page, and comes back to where they were.
    if (answer.status === 401 && path !== "/ui/api/session") void queries.invalidateQueries({ queryKey: SESSION });
    throw error;
  }
  return answer;
}

export async function ask<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const answer = await send(method, path, body, signal);
  return (await answer.json()) as T;
}

export const get = <T>(path: string, query?: Record<string, Value>, signal?: AbortSignal) =>
  ask<T>("GET", pathWith(path, query), undefined, signal);

async function said(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    const body = JSON.parse(text) as { error?: { message?: string }; detail?: unknown };
    if (body.error?.message) return body.error.message;
    if (typeof body.detail === "string") return body.detail;
    if (Array.isArray(body.detail)) {
      return body.detail
        .map((found: { loc?: unknown[]; msg?: string }) => `${(found.loc ?? []).slice(1).join(".")}: ${found.msg ?? ""}`)
        .join("; ");
    }
  } catch {
    // not JSON: shown as it came
  }
  return text.slice(0, 500) || `${answer.status} ${answer.statusText}`;
}
