//! The rows: what each command of the guides must come to.

use crate::table::{Need, Row, Way, cluster, elsewhere, hera, local, row, service, setting, trial};

const OWN_CLUSTER: &str = "needs a cluster of the reader's, with a registry that its nodes reach";
const OTHERS_FILES: &str = "needs files of public projects, which are not part of this repository";
const OWN_CHECKOUT: &str = "changes this checkout";
const DELETES: &str = "deletes the cluster of the tests; `cargo xtask test` does so at its end";
const REBUILDS: &str = "builds an image; tests/image.rs and image_anew.rs do so if there is Docker";
const OWN_PORT: &str = "takes the port and the container's name of a service that a person may run with docker compose";

/// Held, not held, and a machine too slow to tell in so short a time.
const PROVED: &[i32] = &[0, 1, 3];
/// A home folder of the test's own.
const HOME: &[(&str, &str)] = &[("~/", "home/")];

/// All rows. Those of one way and lane run in this order, because later ones use what earlier ones left.
pub const ROWS: &[Row] = &[
    // A person's first minutes.
    local("git clone <this repository> && cd hybrid-cache", "Cloning into")
        .given(&[("<this repository>", "{checkout} hybrid-cache")])
        .needs(&[Need::Git]),
    local("cargo xtask tools", "uv"),
    local("cargo xtask tools --nix-provider nix --package-source debnix", "nix").needs(&[Need::Nix]),
    local(
        "cargo xtask run --dep numpy --system gcc --python 'import numpy; print(numpy.__version__)'",
        "system: built",
    )
    .needs(&[Need::Nix]),
    local(
        r#"cargo xtask run --dep numpy --system gcc --python 'import numpy, subprocess; print(numpy.__version__); subprocess.run(["gcc", "--version"])'"#,
        "system: hit",
    )
    .needs(&[Need::Nix]),
    local("cargo xtask cache warm --dep numpy --system gcc", "hit").needs(&[Need::Nix]),
    local(r#"echo '{"pythonCode": "print(1)"}' | cargo xtask run -"#, "exit code 0"),
    local("cargo xtask run docs/examples/script.py --dep six", "exit code 0"),
    local(
        r#"echo typed | cargo xtask run --env CITY=Ulm --stdin - --python 'import os, sys; print(sys.argv[1:], os.environ["CITY"], sys.stdin.read())' -- -v"#,
        "['-v'] Ulm typed",
    ),
    local("cargo xtask run --dep six --python 'import six'", "python: "),
    local(
        "cargo xtask run --python 'print(1)' --dep '--index-url=http://example.invalid'",
        "`--index-url` is an option",
    )
    .codes(&[2]),
    local(
        "cargo xtask run --dep 'numpy<1' --python 'print(1)'",
        "the requirements cannot be met",
    )
    .codes(&[5]),
    local(
        "cargo xtask run --system gnumak --python 'print(1)'",
        "did you mean gnumake?",
    )
    .codes(&[5])
    .needs(&[Need::Nix]),
    local("cargo xtask cache usage", "python"),
    local("cargo xtask cache verify", "all of it is whole"),
    local("cargo xtask cache trace show", "requests"),
    local(
        "cargo xtask cache trace export --out trace.jsonl --anonymise",
        "requests were exported",
    ),
    // So few requests reach no target of a team's.
    local("cargo xtask size --trace trace.jsonl", "uv-cache-pvc").with("--hit 1% --out size"),
    local(
        "cargo xtask size --trace trace.jsonl --fleet 1000 --fleet-rate 2000000",
        "nodes",
    )
    .given(&[("1000 ", "10 "), ("2000000", "20000")])
    .with("--hit 1% --out size"),
    local("cargo xtask bench", "python-only")
        .with("--scenario python-only --first-runs 1 --cached-runs 2 --no-peers --out first-bench"),
    local(
        "cargo xtask bench --scenario python-only --first-runs 3 --cached-runs 10",
        "python-only",
    )
    .given(&[("--first-runs 3 --cached-runs 10", "--first-runs 1 --cached-runs 1")])
    .with("--no-peers --out second-bench"),
    local("cargo xtask bench --levels 12 --scenario python-only", "all warm")
        .given(&[("--levels 12", "--levels 1")])
        .with("--runs-from-nothing 1 --out levels"),
    local("cargo xtask report reports/baseline", "python-only"),
    local("cargo xtask bench --mirror record", "a mirror that records")
        .with("--scenario python-only --first-runs 1 --cached-runs 2 --mirror-dir recording --out recorded-bench"),
    local("cargo xtask bench --mirror replay", "a replay of recording")
        .with("--scenario python-only --first-runs 1 --cached-runs 2 --mirror-dir recording --out replayed-bench"),
    local("cargo xtask bench --load 10 --scenario python-only", "python-only").with("--load-seconds 1 --out load"),
    // Completions, into a home folder of the test's own.
    local("cargo xtask completions bash > ~/.cargo-xtask.bash", "").given(HOME),
    local("echo 'source ~/.cargo-xtask.bash' >> ~/.bashrc", "").given(HOME),
    local("mkdir -p ~/.zfunc", "").given(HOME),
    local("cargo xtask completions zsh > ~/.zfunc/_cargo-xtask", "").given(HOME),
    local("mkdir -p ~/.config/fish/conf.d", "").given(HOME),
    local(
        "cargo xtask completions fish > ~/.config/fish/conf.d/cargo-xtask.fish",
        "",
    )
    .given(HOME),
    // Nothing is recorded where these run: they use the made-up trace of a team.
    trial("cargo xtask size --hit 95%", "synthetic trace `team`").with("--out size"),
    trial("cargo xtask size --hit 95% --p95 5s --growth 12m", "synthetic trace `team`")
        .codes(&[0, 3])
        .with("--out size"),
    trial("cargo xtask size --synthetic agents", "uv-cache-pvc").with("--out size"),
    trial("cargo xtask size --synthetic team --prove", "on real file systems")
        .codes(PROVED)
        .with("--prove-environments 2 --prove-requests 4 --prove-bytes 256Mi --prove-limit 8s --out proof")
        .needs(&[Need::Root, Need::Program("mkfs.ext4")]),
    // A proof takes long, and the one above is the same with another trace.
    trial("cargo xtask size --trace trace.jsonl --prove", "uv-cache-pvc")
        .given(&[("--trace trace.jsonl --prove", "--synthetic ci")])
        .with("--out size"),
    trial("cargo xtask attack --driver local --only flood-output", "flood-output"),
    trial("cargo xtask attack", "flood-output").with("--list"),
    trial("cargo xtask attack --json", "\"flood-output\"").with("--driver local --only flood-output"),
    trial("cargo xtask chaos --only kill-a-preparation --rounds 500", "kill-a-preparation").given(&[("500", "8")]),
    trial("cargo xtask chaos", "kill-a-preparation").with("--list"),
    trial("cargo xtask chaos --seed 42", "42").with("--only kill-a-preparation --rounds 8"),
    trial(
        "cargo xtask doctor --no-smoke-test --system make --system gnumak",
        "did you mean gnumake?",
    )
    .codes(&[4]),
    trial("cargo xtask doctor --no-smoke-test", "host.user-namespaces").codes(&[0, 4]),
    // Hera, from an index.
    hera("python3 -m venv target/hera", "").needs(&[Need::Program("python3")]),
    hera("target/hera/bin/pip install --quiet 'hera[yaml]==7.1.0'", "").codes(&[0, 1]),
    hera("pip install 'hera[yaml]==7.1.0'", "hera")
        .given(&[("pip ", "target/hera/bin/pip ")])
        .needs(&[Need::Hera]),
    hera("target/hera/bin/python docs/examples/hera_task.py", "kind: Workflow").needs(&[Need::Hera]),
    // The task API.
    row(
        "cargo xtask serve --listen 0.0.0.0:8000 --token-file token --host tasks.example",
        Way::Serves,
        "",
    )
    .given(&[("0.0.0.0:8000", "127.0.0.1:0")])
    .until("listening on http://"),
    service(
        r#"curl -s -X POST http://localhost:8000/api/v1/tasks/submit -H 'Content-Type: application/json' -d '{"pythonCode": "import numpy\nprint(numpy.arange(3).sum())", "dependencies": "numpy", "requirementsFile": "numpy>=1.0.0\n", "systemDependencies": "", "useCache": true}'"#,
        "Task saved successfully",
    ),
    service(
        "curl -s -X POST http://localhost:8000/api/v1/tasks/task-abc123/run",
        r#""state":"queued""#,
    ),
    service(
        "curl -s -N 'http://localhost:8000/api/v1/tasks/task-abc123/logs?follow=true'",
        "event: end",
    ),
    service(
        r#"curl -s -X POST http://localhost:8000/api/v1/tasks/submit -H 'Content-Type: application/json' -d '{"pythonCode": "1", "dependencies": "--index-url=http://example.invalid"}'"#,
        "`--index-url` is an option",
    ),
    service(
        "cargo xtask bench --service-url http://localhost:8000 --scenario python-only --scenario hybrid",
        "python-only",
    )
    .given(&[(" --scenario hybrid", "")])
    .with("--token-file token --cached-runs 2 --no-peers --out via"),
    service(
        "cargo xtask bench --load 10 --load-seconds 600 --service-url http://localhost:8000",
        "python-only",
    )
    .given(&[("600", "1")])
    .with("--token-file token --scenario python-only --out load"),
    setting("cd ~/.cache/hybrid-cache/service").given(&[("~/.cache", "$XDG_CACHE_HOME")]),
    service("mkdir -m 700 BACKUP", "").given(&[("BACKUP", "{scratch}/backup")]),
    service(r#"sqlite3 tasks.sqlite3 ".backup BACKUP/tasks.sqlite3""#, "")
        .given(&[("BACKUP", "{scratch}/backup")])
        .needs(&[Need::Program("sqlite3")]),
    service("cp -a output BACKUP/", "").given(&[("BACKUP", "{scratch}/backup")]),
    service("cargo xtask serve --data-dir BACKUP", "")
        .given(&[("BACKUP", "{scratch}/backup")])
        .with("--listen 127.0.0.1:0")
        .until("listening on http://")
        .needs(&[Need::Program("sqlite3")]),
    elsewhere(
        "STAND_SECONDS=120 cargo test -p hybrid-cache-service --test http -- --ignored --nocapture stand",
        "compiles the service again with other features; the test that it names is looked up",
    ),
    elsewhere(
        "schemathesis run http://127.0.0.1:PORT/openapi.json --max-examples 40 --exclude-checks positive_data_acceptance",
        "needs schemathesis, and a service without real tasks",
    ),
    // A cluster. The options that name it are added to each `cargo xtask`.
    cluster("cargo xtask up", "").with("--no-smoke-test"),
    cluster("cargo xtask status", "python"),
    cluster("cargo xtask doctor", "cluster.reachable").codes(&[0, 4]),
    // The claims of a kind cluster cannot grow in place, and the plan says so.
    cluster("cargo xtask up --python-size 20Gi --system-size 40Gi", "").with("--plan").codes(&[0, 4]),
    // The cluster of the tests has one node, which is said before anything is done.
    cluster("cargo xtask up --workers 2 --volume-sets 2", "").with("--plan").codes(&[0, 2, 4]),
    cluster("cargo xtask up --volume-sets 1", "").with("--plan"),
    cluster("cargo xtask up --with-service --plan", ""),
    cluster("cargo xtask up --standby 4", "").with("--plan"),
    cluster("cargo xtask up --standby 2..8 --with-service", "").with("--plan"),
    cluster("cargo xtask up --standby none", "").with("--plan"),
    cluster("cargo xtask up --context CONTEXT --storage-class CLASS", "")
        .given(&[("CONTEXT", "{context}"), ("CLASS", "standard")])
        .with("--plan")
        .codes(&[0, 2, 4]),
    cluster(
        "cargo xtask up --context CONTEXT --namespace NAMESPACE --storage-class CLASS --plan",
        "",
    )
    .given(&[
        ("CONTEXT", "{context}"),
        ("NAMESPACE", "hybrid-cache-guides"),
        ("CLASS", "standard"),
    ])
    .codes(&[0, 2, 4]),
    cluster("cargo xtask cache warm --dep numpy --system gcc --driver kube", ""),
    cluster("cargo xtask cache usage --driver kube", "python"),
    cluster("cargo xtask cache trace show --driver kube", "requests"),
    cluster("cargo xtask cache verify --driver kube", "all of it is whole"),
    cluster("cargo xtask bench --driver kube", "python-only")
        .with("--scenario python-only --first-runs 1 --cached-runs 2 --no-peers --out {scratch}/kube"),
    cluster("cargo xtask bench --driver kube --standby 2", "python-only")
        .with("--scenario python-only --first-runs 1 --cached-runs 2 --no-peers --out {scratch}/kube-standby"),
    cluster("cargo xtask bench --load 2 --load-seconds 3600 --driver kube", "python-only")
        .given(&[("3600", "5")])
        .with("--scenario python-only --out {scratch}/kube-load"),
    cluster("kubectl apply -f manifests/namespace.yaml", "namespace/argo").with("--dry-run=server"),
    cluster(
        "kubectl apply -f manifests/pv-cache-volumes.yaml -f manifests/pvc-cache-volumes.yaml",
        "uv-cache-pvc",
    )
    .with("--dry-run=client"),
    cluster(
        "kubectl apply --filename manifests/pvc-cache-volumes.yaml",
        "uv-cache-pvc",
    )
    .with("--dry-run=client"),
    cluster(
        "kubectl apply -f manifests/rbac.yaml -f manifests/network-policy.yaml -f manifests/resource-quota.yaml",
        "serviceaccount/",
    )
    .with("--dry-run=server"),
    cluster("kubectl apply -f manifests/service.yaml", "deployment").with("--dry-run=server"),
    cluster(
        r#"kubectl -n argo create secret generic hybrid-cache-service-token --from-literal=token="$(openssl rand -hex 32)""#,
        "secret/",
    )
    .with("--dry-run=client")
    .needs(&[Need::Program("openssl")]),
    cluster(
        "kubectl -n argo create configmap hybrid-cache-certificates --from-file=ca-certificates.crt=/etc/ssl/certs/ca-certificates.crt",
        "configmap/",
    )
    .with("--dry-run=client"),
    cluster(
        "cargo xtask run --driver argo --dep numpy --python 'import numpy; print(numpy.__version__)'",
        "exit code 0",
    )
    .needs(&[Need::Argo]),
    cluster("cargo xtask up --with-argo", "")
        .with("--no-smoke-test")
        .needs(&[Need::Argo]),
    cluster("kubectl apply -f manifests/argo-controller.yaml", "deployment")
        .with("--dry-run=client")
        .needs(&[Need::Argo]),
    cluster("kubectl apply -f manifests/argo.yaml", "hybrid-cache-executor")
        .with("--dry-run=client")
        .needs(&[Need::Argo]),
    cluster("kubectl apply -f manifests/argo-task.yaml", "hybrid-cache-task").needs(&[Need::Argo]),
    cluster(
        "python3 docs/examples/fill_template.py ~/.cache/hybrid-cache/clusters/hybrid-cache/service/driver.json | kubectl apply --filename -",
        "hybrid-cache-task",
    )
    .given(&[("~/.cache/hybrid-cache/clusters/hybrid-cache/service", "{state}/service")])
    .needs(&[Need::Argo]),
    cluster(
        "python3 docs/examples/fill_template.py DRIVER_JSON | kubectl apply --filename -",
        "hybrid-cache-task",
    )
    .given(&[("DRIVER_JSON", "{state}/service/driver.json")])
    .needs(&[Need::Argo]),
    cluster(
        "kubectl create --filename docs/examples/argo_workflow.yaml",
        "hybrid-cache-example-",
    )
    .needs(&[Need::Argo]),
    cluster("kubectl -n argo get workflows", "hybrid-cache-example-").needs(&[Need::Argo]),
    cluster(
        "target/hera/bin/python docs/examples/hera_task.py | kubectl create --dry-run=server --filename -",
        "hybrid-cache-example-",
    )
    .needs(&[Need::Argo, Need::Hera]),
    cluster(
        "target/hera/bin/python docs/examples/hera_task.py | kubectl create --filename -",
        "hybrid-cache-example-",
    )
    .needs(&[Need::Argo, Need::Hera]),
    cluster(
        "python docs/examples/hera_task.py | kubectl --namespace argo create --filename -",
        "hybrid-cache-example-",
    )
    .given(&[("python docs", "target/hera/bin/python docs")])
    .needs(&[Need::Argo, Need::Hera]),
    // What no test can do for the reader.
    elsewhere(
        "cargo xtask tools --python-version 3.12",
        "downloads a Python; tests/cli/pythons.rs takes one from a mirror on this machine",
    ),
    elsewhere("cargo xtask test", "runs this test, among all others"),
    setting("export HYBRID_CACHE_REQUIREMENTS_FILES=FOLDER UPDATE_COMPATIBILITY=1"),
    elsewhere("cargo test --workspace --test compatibility -- --nocapture", OTHERS_FILES),
    elsewhere(
        "HYBRID_CACHE_LOCAL_CONFIG=FILE cargo test --workspace --test local a_sample_of_public_files_runs -- --nocapture",
        OTHERS_FILES,
    ),
    elsewhere("cargo test --workspace --test compatibility_page", OTHERS_FILES),
    elsewhere("git pull", OWN_CHECKOUT),
    elsewhere("git checkout PREVIOUS", OWN_CHECKOUT),
    elsewhere("cargo xtask down", DELETES),
    elsewhere("cargo xtask down --volumes --service-data", DELETES),
    elsewhere(
        "cargo xtask chaos --driver kube --node-container hybrid-cache-control-plane",
        "pauses and restarts the node of the cluster that other tests use",
    ),
    elsewhere(
        "cargo xtask size --prove --driver kube",
        "takes 14 minutes, and mounts in the node; tests/cli/size.rs tries its refusals",
    ),
    elsewhere("cargo xtask image --push REGISTRY/nix-portable-base:VERSION", OWN_CLUSTER),
    elsewhere(
        "cargo xtask image --service --push REGISTRY/hybrid-cache-service:VERSION",
        OWN_CLUSTER,
    ),
    setting("export NIX_PORTABLE_BASE_IMAGE=REGISTRY/nix-portable-base:VERSION"),
    setting("export HYBRID_CACHE_SERVICE_IMAGE=REGISTRY/hybrid-cache-service:VERSION"),
    elsewhere(
        "cargo xtask up --context CONTEXT --namespace NAMESPACE --storage-class CLASS --with-service",
        OWN_CLUSTER,
    ),
    elsewhere(
        "cargo xtask up --context CONTEXT --namespace NAMESPACE --storage-class CLASS",
        OWN_CLUSTER,
    ),
    elsewhere("cargo xtask image --force", REBUILDS),
    elsewhere("cargo xtask image --service", REBUILDS),
    elsewhere(
        "NIX_PORTABLE_BASE_IMAGE=$(cargo xtask image --warm numpy --warm-system gcc) cargo xtask up",
        REBUILDS,
    ),
    elsewhere("docker compose build backend", REBUILDS),
    elsewhere("cargo xtask node-image", "compiles Kubernetes, for twenty minutes"),
    elsewhere(
        "cargo xtask node-image --output node-image.tar.gz",
        "compiles Kubernetes, for twenty minutes",
    ),
    elsewhere(
        "kind create cluster --config manifests/kind-cluster.yaml",
        "makes a cluster of a published node image; `up` makes the same one from this file",
    ),
    elsewhere("docker compose up -d --build backend", OWN_PORT),
    elsewhere(
        "HYBRID_CACHE_SERVICE_STAGE=brought docker compose up -d --build backend",
        OWN_PORT,
    ),
    elsewhere("docker compose restart backend", OWN_PORT),
    elsewhere("cat ~/.cache/hybrid-cache/clusters/hybrid-cache/service/token", OWN_PORT),
    elsewhere(
        r#"nix build -f default.nix gcc --argstr mirror "$MIRROR" --argstr busybox /path/to/busybox --no-link --json"#,
        "needs a Nix on the search path and the address of a mirror; the runner does the same",
    ),
    // The service in a cluster: it starts, its data is copied out and back, its token is replaced, and it goes.
    cluster("cargo xtask up --with-service", "service").with("--no-smoke-test"),
    cluster(
        "kubectl -n argo get secret hybrid-cache-service-token -o go-template='{{.data.token | base64decode}}'",
        "",
    ),
    cluster("kubectl -n argo port-forward service/hybrid-cache-service 8000", "")
        .given(&[(" 8000", " 18000:8000")])
        .until("Forwarding from 127.0.0.1:18000"),
    setting(
        r#"IMAGE=$(cargo xtask status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["image"]["reference"])')"#,
    )
    .given(&[("status --json", "status --json {cluster}")]),
    cluster("kubectl -n argo scale deployment/hybrid-cache-service --replicas=0", "scaled"),
    cluster(
        r#"sed "s|nix-portable-base:latest|$IMAGE|" docs/examples/service-data.yaml | kubectl apply --filename -"#,
        "created",
    ),
    cluster(
        "kubectl -n argo wait --for=condition=Ready pod/hybrid-cache-service-data",
        "condition met",
    )
    .with("--timeout=120s"),
    cluster(
        "kubectl -n argo exec hybrid-cache-service-data -- sh -c 'cd /data && tar -c --exclude=lost+found *' > service-data.tar",
        "",
    )
    .with("&& tar -t -f service-data.tar tasks.sqlite3"),
    cluster(
        "kubectl -n argo exec hybrid-cache-service-data -- find /data -mindepth 1 -not -name lost+found -delete",
        "",
    ),
    cluster(
        "kubectl -n argo exec --stdin hybrid-cache-service-data -- tar -x -C /data < service-data.tar",
        "",
    )
    .with("&& kubectl -n argo exec hybrid-cache-service-data -- find /data -name tasks.sqlite3 | grep tasks"),
    cluster("kubectl -n argo delete pod/hybrid-cache-service-data", "deleted"),
    cluster("kubectl -n argo scale deployment/hybrid-cache-service --replicas=1", "scaled")
        .with("&& kubectl -n argo rollout status deployment/hybrid-cache-service --timeout=120s"),
    // The page makes the new token with `up --with-service`, which has its row above.
    cluster("kubectl -n argo delete secret hybrid-cache-service-token", "deleted")
        .with("&& cargo xtask up --with-service --no-smoke-test {cluster}"),
    cluster(
        "kubectl -n argo rollout restart deployment/hybrid-cache-service",
        "restarted",
    )
    .with("&& kubectl -n argo rollout status deployment/hybrid-cache-service --timeout=120s"),
    cluster("cargo xtask up --with-service=argo", "service")
        .with("--no-smoke-test && kubectl -n argo delete deployment/hybrid-cache-service --timeout=60s")
        .needs(&[Need::Argo]),
];
