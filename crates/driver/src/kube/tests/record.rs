//! What the driver records of tasks, on a double of a cluster.

use std::time::Duration;

use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::contents::{Contents, EnvironmentContents, PartContents, Prepared, VolumeContents};
use hybrid_cache_model::pod::{CONTENTS_MARK, PREPARED_MARK};
use hybrid_cache_sizing::Volume;
use hybrid_cache_sizing::trace::Met;
use serde_json::{Value, json};

use crate::kube::config::tests::config;
use crate::kube::driver::KubeDriver;
use crate::kube::tests::double::Double;
use crate::trace::{TraceConfig, files_in};
use crate::{Driver, SubmitOptions};

use recorded::{SECRET, read};

#[path = "../../../tests/shared/recorded.rs"]
mod recorded;

/// The first task of a kind builds, the later ones hit. A maintenance pod has written the contents to its log.
fn report(name: &str) -> Value {
    if name.starts_with("maintain") {
        return json!({"answer": "done"});
    }
    let nothing = json!({"written_bytes": 0, "passed_bytes": 0});
    let (python, keys) = if name.starts_with("cold") {
        let built = json!({"status": "built", "downloaded_bytes": 5, "reused_bytes": 0});
        (built, json!({"python_request": "request"}))
    } else {
        (
            json!({"status": "hit"}),
            json!({"python_request": "request", "python": name.split('-').nth(1)}),
        )
    };
    json!({
        "report": "finished", "end": "exited", "code": 0, "timeline": {"total_us": 1, "spans": []}, "stdout": nothing,
        "stderr": nothing, "cache": {"python": python, "system": {"status": "not_asked"}}, "resolved": {}, "keys": keys,
    })
}

fn listed(names: &[&str]) -> Contents {
    let environments = names.iter().map(|name| EnvironmentContents {
        name: (*name).to_owned(),
        label: "numpy".to_owned(),
        used_us: 1,
        own: (4096, 2),
        parts: vec![0],
    });
    Contents {
        python: Some(VolumeContents {
            rest: (0, 0),
            parts: vec![PartContents("wheel".to_owned(), 1 << 20, 100)],
            environments: environments.collect(),
        }),
        system: None,
    }
}

async fn run(driver: &KubeDriver, id: &str) {
    let spec = TaskSpec {
        dependencies: "numpy".to_owned(),
        ..TaskSpec::new(format!("print('{SECRET}')"))
    };
    let options = SubmitOptions {
        id: Some(id.to_owned()),
        ..SubmitOptions::default()
    };
    let ticket = driver.submit(&spec, &options).await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(60), driver.settle(&ticket)).await;
    assert!(outcome.unwrap().unwrap().end.is_success());
}

fn marked(mark: &str, reported: &impl serde::Serialize) -> String {
    format!("words\n{mark}{}\n", serde_json::to_string(reported).unwrap())
}

#[tokio::test]
async fn pods_write_to_their_logs_what_environments_are_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Double::new(Duration::from_millis(20), report);
    let prepared = Prepared {
        contents: listed(&["made"]),
        expired: false,
    };
    cluster.says("cold", "prepare", &marked(PREPARED_MARK, &prepared));
    cluster.says("maintain", "task", &marked(CONTENTS_MARK, &listed(&["made", "old"])));
    let driver = KubeDriver::open(cluster.client(), config()).await.unwrap();
    driver.record(TraceConfig::new(dir.path()));
    for id in ["cold-made", "warm-made", "warm-old"] {
        run(&driver, id).await;
    }
    assert_eq!(driver.flush_trace().await, None);
    let (met, residents, catalog) = read(files_in(dir.path()).unwrap());
    assert_eq!((met, residents), (vec![Met::Miss, Met::Hit, Met::Hit], 1));
    assert_eq!(catalog.volume(Volume::Python).parts().len(), 1);
}

#[tokio::test]
async fn an_image_that_writes_no_contents_costs_the_trace_and_no_task() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Double::new(Duration::from_millis(20), report);
    let driver = KubeDriver::open(cluster.client(), config()).await.unwrap();
    driver.record(TraceConfig::new(dir.path()));
    run(&driver, "warm-old").await;
    let reported = driver.flush_trace().await.unwrap();
    assert!(reported.contains("cargo xtask up"), "{reported}");
}

#[tokio::test]
async fn nothing_is_recorded_or_read_from_the_cluster_without_a_trace() {
    let cluster = Double::new(Duration::from_millis(20), report);
    let driver = KubeDriver::open(cluster.client(), config()).await.unwrap();
    run(&driver, "cold-made").await;
    assert_eq!(driver.flush_trace().await, None);
    assert!(
        cluster.made().iter().all(|name| name.starts_with("cold")),
        "{:?}",
        cluster.made()
    );
}
