//! What Argo adds to a task's pod, and what user code sees of it.

use std::time::Duration;

use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, DriverError};
use hybrid_cache_model::TaskSpec;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};

use super::bench::{self, Bench, options, run, wait, within};

fn workflows(bench: &Bench) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Workflow"));
    Api::namespaced_with(bench.client.clone(), &bench.config.namespace, &kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn argos_lines_are_not_output_and_its_rights_are_not_the_tasks() {
    let Some(bench) = bench::cluster("what_argo_says").await else {
        return;
    };
    let driver = bench.driver().await;
    // A line like Argo's without its mark, and the end of a line that Argo does not wait for.
    let code = "import os, sys\n\
                try: open('/proc/1/environ').read()\n\
                except PermissionError: print('refused', [name for name in os.environ if 'ARGO' in name])\n\
                print(os.path.exists('/var/run/secrets'), os.path.exists('/argo/secret'))\n\
                sys.stderr.write('time=\"now\" level=info msg=mine\\nno end of line')";
    let ticket = driver.submit(&TaskSpec::new(code), &options()).await.unwrap();
    let ran = wait(&driver, &ticket).await;
    ran.printed("refused []\nFalse False\n");
    let stderr = driver.logs(&ticket).unwrap().collect(Stream::Stderr);
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(stderr, "time=\"now\" level=info msg=mine\nno end of line");
    assert_eq!(ran.outcome.warnings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_can_neither_end_its_runner_nor_leave_a_report_of_its_own() {
    let Some(bench) = bench::cluster("a_task_can_neither_end_its_runner").await else {
        return;
    };
    let driver = bench.driver().await;
    let code = "import os, signal\n\
                for attempt in [lambda: open('/dev/termination-log', 'w'), lambda: os.kill(os.getppid(), signal.SIGKILL)]:\n    \
                try: attempt(); print('could')\n    \
                except PermissionError: print('refused')";
    let ran = run(&driver, &TaskSpec::new(code), &options()).await;
    ran.printed("refused\nrefused\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_ends_well_whatever_its_task_says_and_takes_its_secret_with_it() {
    let Some(bench) = bench::cluster("a_workflow_ends_well").await else {
        return;
    };
    let driver = bench.driver().await;
    // As with a Job, its own success is that the runner has reported.
    let ticket = driver
        .submit(&TaskSpec::new("raise SystemExit(3)"), &options())
        .await
        .unwrap();
    within(driver.settle(&ticket)).await.unwrap();
    assert_eq!(ticket.driver, "argo");
    let workflows = workflows(&bench);
    let ended = async {
        loop {
            let found = workflows.get(&ticket.id).await.unwrap();
            let phase = found.data.pointer("/status/phase").and_then(|phase| phase.as_str());
            if let Some(ended @ ("Succeeded" | "Failed" | "Error")) = phase {
                return ended.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert_eq!(within(ended).await, "Succeeded");
    let secrets: Api<Secret> = Api::namespaced(bench.client.clone(), &bench.config.namespace);
    let secret = secrets.get(&ticket.id).await.unwrap();
    let owners = secret.owner_references();
    let owners: Vec<_> = owners
        .iter()
        .map(|owner| (owner.kind.as_str(), owner.name.as_str()))
        .collect();
    assert_eq!(owners, [("Workflow", ticket.id.as_str())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_of_workflows_finds_earlier_jobs_and_a_driver_of_jobs_refuses_workflows() {
    let Some(bench) = bench::cluster("a_driver_of_workflows_finds_jobs").await else {
        return;
    };
    let (argo, kube) = (
        bench.driver().await,
        bench.with(|config| config.argo = None).driver().await,
    );
    let job = kube.submit(&TaskSpec::new("print('a job')"), &options()).await.unwrap();
    wait(&argo, &job).await.printed("a job\n");
    let workflow = argo
        .submit(&TaskSpec::new("print('a workflow')"), &options())
        .await
        .unwrap();
    let refused = within(kube.wait(&workflow)).await;
    assert!(matches!(refused, Err(DriverError::UnknownTicket(_))), "{refused:?}");
    wait(&argo, &workflow).await.printed("a workflow\n");
    // And it starts no second one for an id that a Job has.
    let mut again = options();
    again.id = Some(job.id.clone());
    let ran = run(&argo, &TaskSpec::new("print('another')"), &again).await;
    ran.printed("a job\n");
}
