//! A task's own `resources` in a pod, and pods where and how the operator wants them.

use hybrid_cache_driver::{Driver, DriverError};
use hybrid_cache_model::placement::{TaintEffect, Toleration};
use hybrid_cache_model::{CacheStatus, FailureKind, TaskResources, TaskSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};

use super::bench::{self, options, run, spec, wait};
use super::ends::{out_of_memory, running_pod};

fn asking(cpu: &str, memory: &str, code: &str) -> TaskSpec {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    TaskSpec {
        resources: TaskResources {
            cpu: some(cpu),
            memory: some(memory),
            disk: None,
        },
        ..TaskSpec::new(code)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_own_memory_limit_ends_it() {
    let Some(bench) = bench::cluster("a_tasks_own_memory_limit").await else {
        return;
    };
    let driver = bench.driver().await;
    let code = "x = bytearray(500_000_000); print(len(x))";
    run(&driver, &TaskSpec::new(code), &options())
        .await
        .printed("500000000\n");
    out_of_memory(&run(&driver, &asking("", "64Mi", code), &options()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_gets_what_its_task_asks_for_and_more_than_the_maximum_is_refused() {
    let Some(bench) = bench::cluster("a_container_gets_what_its_task_asks_for").await else {
        return;
    };
    let bench = bench.with(|config| config.task_maximum.cpu = Some("3".to_owned()));
    let driver = bench.driver().await;
    let code = "import os, time; print(os.environ['OMP_NUM_THREADS'], flush=True); time.sleep(3)";
    let ticket = driver
        .submit(&asking("2500m", "300Mi", code), &options())
        .await
        .unwrap();
    let name = running_pod(&bench, &driver, &ticket).await;
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.config.namespace);
    let pod = pods.get(&name).await.unwrap().spec.unwrap();
    let resources = pod.containers.iter().find(|one| one.name == "task").unwrap();
    let resources = serde_json::to_value(&resources.resources).unwrap();
    for (pointer, amount) in [
        ("/limits/cpu", "2500m"),
        ("/limits/memory", "300Mi"),
        ("/requests/memory", "300Mi"),
        ("/requests/cpu", bench.config.task_resources.cpu_request.as_str()),
    ] {
        assert_eq!(resources.pointer(pointer).unwrap(), amount, "{resources}");
    }
    wait(&driver, &ticket).await.printed("3\n");
    let refused = driver.submit(&asking("4", "64Gi", "1"), &options()).await;
    let Err(DriverError::Invalid(errors)) = refused else {
        panic!("{refused:?}")
    };
    let reported = errors.to_string();
    for part in [
        "/resources/cpu",
        "`3`",
        "/resources/memory",
        "pods.taskResources.maximum.memory",
    ] {
        assert!(reported.contains(part), "{part}: {reported}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_and_preparations_run_on_the_chosen_node_and_share_environments_whatever_they_ask_for() {
    let Some(bench) = bench::cluster("tasks_run_on_the_chosen_node").await else {
        return;
    };
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let node = nodes.list(&ListParams::default()).await.unwrap().items.remove(0);
    let (label, value) = ("kubernetes.io/os", "linux");
    assert_eq!(node.metadata.labels.unwrap()[label], value);
    let bench = bench.with(|config| {
        let placement = &mut config.placement;
        placement.node_selector.insert(label.to_owned(), value.to_owned());
        placement.tolerations.push(Toleration {
            key: Some("dedicated".to_owned()),
            value: Some("tasks".to_owned()),
            effect: Some(TaintEffect::NoSchedule),
            ..Toleration::default()
        });
        // The kubelet ignores a Secret that it lacks, if the image is there.
        placement.image_pull_secrets.push("no-such-secret".to_owned());
    });
    let driver = bench.driver().await;
    let epoch = driver.fresh_epoch().await.unwrap();
    let plain = spec("import six; print(six.__name__)", "six", "");
    run(&driver, &plain, &bench::on(&epoch)).await.printed("six\n");
    let asked = TaskSpec {
        resources: asking("500m", "256Mi", "1").resources,
        ..plain
    };
    let ran = run(&driver, &asked, &bench::on(&epoch)).await;
    ran.printed("six\n");
    assert_eq!(ran.outcome.cache.python, CacheStatus::Hit);
    driver.discard_epoch(&epoch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_class_runs_the_pod_and_a_node_without_its_handler_is_named() {
    let Some(bench) = bench::cluster("a_runtime_class_runs_the_pod").await else {
        return;
    };
    let classes: Api<RuntimeClass> = Api::all(bench.client.clone());
    // `runc` is the handler that containerd has by itself.
    let handlers = [
        ("hybrid-cache-test-runc", "runc"),
        ("hybrid-cache-test-none", "no-such-handler"),
    ];
    for (name, handler) in handlers {
        let class = RuntimeClass {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            handler: handler.to_owned(),
            ..RuntimeClass::default()
        };
        match classes.create(&PostParams::default(), &class).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            created => drop(created.unwrap()),
        }
    }
    let [good, bad] = handlers.map(|(name, _)| {
        bench.with(|config| {
            config.placement.runtime_class_name = Some(name.to_owned());
            config.start_s = if name.ends_with("none") { 10 } else { config.start_s };
        })
    });
    let ran = run(&good.driver().await, &TaskSpec::new("print(1)"), &options()).await;
    let failed = run(&bad.driver().await, &TaskSpec::new("print(1)"), &options()).await;
    for (name, _) in handlers {
        classes.delete(name, &DeleteParams::default()).await.unwrap();
    }
    ran.printed("1\n");
    failed.failed(FailureKind::Sandbox, &["no-such-handler", "pods.runtimeClassName"]);
}
