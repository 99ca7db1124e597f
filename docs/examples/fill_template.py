"""Writes the settings of a cluster into manifests/argo-task.yaml and prints the result.

    python3 docs/examples/fill_template.py DRIVER_JSON | kubectl apply --filename -

DRIVER_JSON is what `cargo xtask up` writes for a driver: `service/driver.json` in the cluster's folder, or the Secret
`hybrid-cache-service-driver`. From it come the image, the namespace, the network settings and the sizes of the claims. Needs no
package beyond the standard library.
"""

import json
import pathlib
import re
import sys

TEMPLATE = pathlib.Path(__file__).resolve().parents[2] / "manifests" / "argo-task.yaml"


def quoted(value: object) -> str:
    """A value as JSON inside a single-quoted YAML string."""
    return "'" + json.dumps(value).replace("'", "''") + "'"


def claim(size: int) -> dict[str, object]:
    """The budget of a claim; 0 stands for a size that is not known."""
    return {"is_claim": True, "claim_bytes": size or None}


def filled(driver: dict) -> str:
    """The template with the settings of `driver` as defaults."""
    budgets = {"python": claim(driver["python_claim_bytes"]), "system": claim(driver["nix_claim_bytes"])}
    text = TEMPLATE.read_text()
    for pattern, value in [
        (r"(- name: image\n +default: ).*", driver["image"]),
        (r"(- name: network\n +default: ).*", quoted(driver["network"])),
        (r"(- name: budgets\n +default: )>-\n.*\n.*", quoted(budgets)),
        (r"(\n  namespace: )argo", driver["namespace"]),
    ]:
        text, count = re.subn(pattern, lambda found: found[1] + value, text)
        if count != 1:
            raise SystemExit(f"error: {TEMPLATE} has {count} places for {pattern!r}, not one")
    return text


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(filled(json.loads(pathlib.Path(sys.argv[1]).read_text())), end="")
