// The pages' words, in the reader's language, and numbers, money and times as that language writes them.
import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";
import { en } from "./en";

export type WordKey = keyof typeof en;
export type Language = "en" | "fr" | "es";
export const LANGUAGES: Record<Language, string> = { en: "English", fr: "Français", es: "Español" };

// Only the language in use is loaded.
const LOAD: Record<Language, () => Promise<Record<WordKey, string>>> = {
  en: async () => en,
  fr: async () => (await import("./fr")).fr,
  es: async () => (await import("./es")).es,
};
const STORED = "tollway-language";

function first(): Language {
  const stored = localStorage.getItem(STORED);
  const wanted = [stored, ...navigator.languages].map((name) => name?.slice(0, 2).toLowerCase());
  return (wanted.find((name) => name !== undefined && name in LANGUAGES) ?? "en") as Language;
}

type Values = Record<string, string | number>;

function speaker(language: Language, words: Record<WordKey, string>) {
  const t = (key: WordKey, values: Values = {}) =>
    words[key].replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole));
  const number = new Intl.NumberFormat(language);
  const moment = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
  const clock = new Intl.DateTimeFormat(language, { month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: "UTC" });
  const hour = new Intl.DateTimeFormat(language, { weekday: "short", hour: "2-digit", minute: "2-digit" });
  return {
    language,
    t,
    number: (value: number) => number.format(value),
    short: (value: number) => new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 }).format(value),
    /** Small amounts keep their digits: a call may cost a thousandth of a cent. */
    money: (dollars: number) => {
      const digits = dollars !== 0 && Math.abs(dollars) < 0.01 ? 6 : Math.abs(dollars) < 1 ? 4 : 2;
      return new Intl.NumberFormat(language, {
        style: "currency",
        currency: "USD",
        minimumFractionDigits: 2,
        maximumFractionDigits: digits,
      }).format(dollars);
    },
    duration: (ms: number) => (ms < 1000 ? `${number.format(Math.round(ms))} ms` : `${number.format(Math.round(ms / 100) / 10)} s`),
    moment: (value: string | number) => moment.format(new Date(value)),
    clock: (value: number) => clock.format(new Date(value)),
    /** A chart asks for the name of a day also where it has none. */
    day: (value: string) => (Number.isNaN(Date.parse(value)) ? "" : day.format(new Date(value))),
    hour: (value: string) => (Number.isNaN(Date.parse(value)) ? "" : hour.format(new Date(value))),
    ago: (value: string | number) => {
      const seconds = (new Date(value).getTime() - Date.now()) / 1000;
      const units: [Intl.RelativeTimeFormatUnit, number][] = [["day", 86400], ["hour", 3600], ["minute", 60]];
      for (const [unit, size] of units) if (Math.abs(seconds) >= size) return relative.format(Math.round(seconds / size), unit);
      return relative.format(Math.round(seconds), "second");
    },
  };
}

export type Speaker = ReturnType<typeof speaker>;
const Context = createContext<Speaker & { speak: (language: Language) => void }>({ ...speaker("en", en), speak: () => {} });
export const useWords = () => useContext(Context);

export function Words({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState<Language>(first);
  const [words, setWords] = useState<{ language: Language; words: Record<WordKey, string> } | null>(null);
  useEffect(() => {
    let current = true;
    void LOAD[language]().then((loaded) => {
      if (!current) return;
      document.documentElement.lang = language;
      setWords({ language, words: loaded });
    });
    return () => {
      current = false;
    };
  }, [language]);
  const value = useMemo(
    () =>
      words && {
        ...speaker(words.language, words.words),
        speak: (next: Language) => {
          localStorage.setItem(STORED, next);
          setLanguage(next);
        },
      },
    [words],
  );
  return value && <Context.Provider value={value}>{children}</Context.Provider>;
}
