// Whoever opened a dialog comes back to where they were when it is gone.
import { useEffect, useState } from "react";

/** A menu that was left is gone too: then its button is the place. */
function place(): HTMLElement | null {
  const at = document.activeElement;
  const menu = at?.closest('[role="menu"]')?.getAttribute("aria-labelledby");
  const found = menu ? document.getElementById(menu) : at;
  return found instanceof HTMLElement && found !== document.body ? found : null;
}

export function useReturnFocus() {
  const [from] = useState(place);
  useEffect(
    () => () => {
      requestAnimationFrame(() => {
        if (from?.isConnected && (document.activeElement === document.body || document.activeElement === null)) from.focus({ preventScroll: true });
      });
    },
    [from],
  );
}
