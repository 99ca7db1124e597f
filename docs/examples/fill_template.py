"""Writes the settings of a cluster into manifests/argo-task.yaml and prints the result.

    python3 docs/examples/fill_template.py DRIVER_JSON | kubectl apply --filename -

DRIVER_JSON is what `cargo xtask up` writes for a driver: `service/driver.json` in the cluster's folder, or the Secret
`hybrid-cache-service-driver`. From it come the image, the namespace, the network settings, the sizes of the claims, and where pods
run. Needs no package beyond the standard library.
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


def lines(indent: int, fields: dict[str, object]) -> str:
    """The fields that are set, each as a line of YAML."""
    return "".join(f"{' ' * indent}{name}: {json.dumps(value)}\n" for name, value in fields.items() if value)


def filled(driver: dict) -> str:
    """The template with the settings of `driver` as defaults."""
    placement = driver.get("placement", {})
    of_template = {name: placement.get(name) for name in ["nodeSelector", "tolerations"]}
    secrets = [{"name": name} for name in placement.get("imagePullSecrets", [])]
    of_pod = {"runtimeClassName": placement.get("runtimeClassName"), "imagePullSecrets": secrets}
    budgets = {"python": claim(driver["python_claim_bytes"]), "system": claim(driver["nix_claim_bytes"])}
    text = TEMPLATE.read_text()
    for pattern, value in [
        (r"(- name: image\n +default: ).*", driver["image"]),
        (r"(- name: network\n +default: ).*", quoted(driver["network"])),
        (r"(- name: budgets\n +default: )>-\n.*\n.*", quoted(budgets)),
        (r"(\n  namespace: )argo", driver["namespace"]),
        (r"(\n      serviceAccountName: hybrid-cache-task\n)", lines(6, of_template)),
        (r"(\n      podSpecPatch: \|\n)", lines(8, of_pod)),
    ]:
        text, count = re.subn(pattern, lambda found: found[1] + value, text)
        if count != 1:
            raise SystemExit(f"error: {TEMPLATE} has {count} places for {pattern!r}, not one")
    return text


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(filled(json.loads(pathlib.Path(sys.argv[1]).read_text())), end="")
