import { queries } from "../api/client";

/** Models were added, changed or released: what was asked about them before is asked anew. */
export function modelsChanged() {
  for (const name of ["models", "deployments", "credentials"]) void queries.invalidateQueries({ queryKey: [name] });
}
