import "./styles";
import "./tollway.css";
import { createTheme, MantineProvider, type CSSVariablesResolver } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { setNonce } from "get-nonce";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Router } from "wouter";
import { queries } from "./api/client";
import { Words } from "./i18n";
import { Tollway } from "./shell";

// Styles that components write while they run carry the document's nonce; the page's policy lets in no others.
const nonce = document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.nonce ?? "";
setNonce(nonce);

const theme = createTheme({
  primaryColor: "indigo",
  primaryShade: { light: 8, dark: 8 },
  fontFamily: "system-ui, sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', Menlo, Consolas, monospace",
  defaultRadius: "sm",
  cursorType: "pointer",
  respectReducedMotion: true,
});

// Mantine's dimmed text has too little contrast to be read by everybody (WCAG AA asks for 4.5 to 1).
const readable: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--tollway-good": "#1b6e31",
    "--tollway-bad": "#b42318",
    "--tollway-warn": "#8a4b00",
    "--tollway-hover": "var(--mantine-color-gray-1)",
    "--mantine-color-dimmed": "#4b5563",
    "--mantine-color-placeholder": "#646b76",
    "--mantine-color-error": "#c21f1f",
  },
  dark: {
    "--tollway-good": "#69db7c",
    "--tollway-bad": "#ff8787",
    "--tollway-warn": "#ffc078",
    "--tollway-hover": "var(--mantine-color-dark-6)",
    "--mantine-color-dimmed": "#b3b9c4",
    "--mantine-color-placeholder": "#9aa1ad",
    "--mantine-color-error": "#ff8787",
    "--mantine-color-anchor": "#91a7ff",
  },
});

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={() => nonce} cssVariablesResolver={readable}>
      <QueryClientProvider client={queries}>
        <Words>
          <Router base="/ui">
            <Tollway />
          </Router>
        </Words>
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
