//! What is recorded of requests to a cluster: a miss and hits, and a driver that begins in the middle of the volumes' life.

use hybrid_cache_driver::Driver;
use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::trace::{TraceConfig, files_in};
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_sizing::Volume;
use hybrid_cache_sizing::trace::Met;

use super::bench::{self, options, spec, within};
use recorded::{SECRET, read};

#[path = "../shared/recorded.rs"]
mod recorded;

async fn settled(driver: &KubeDriver, dependencies: &str) {
    let task = spec(&format!("print('{SECRET}')"), dependencies, "");
    let ticket = driver.submit(&task, &options()).await.unwrap();
    let outcome = within(driver.settle(&ticket)).await.unwrap();
    assert!(outcome.end.is_success(), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_a_cluster_are_recorded_with_what_its_volumes_hold() {
    let Some(bench) = bench::cluster("requests_to_a_cluster_are_recorded").await else {
        return;
    };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let driver = bench.driver().await;
    within(driver.initialise()).await.unwrap();
    driver.record(TraceConfig::new(folders[0].path()));
    // A marker that no other test asks for with these two; whether it is a first request depends on earlier runs.
    for _ in 0..3 {
        settled(&driver, "idna,six,packaging").await;
    }
    assert_eq!(within(driver.flush_trace()).await, None);
    let (met, _, catalog) = read(files_in(folders[0].path()).unwrap());
    assert_eq!(met.len(), 3, "{met:?}");
    assert_eq!(met[1..], [Met::Hit, Met::Hit]);
    let python = catalog.volume(Volume::Python);
    assert!(python.environments().iter().any(|one| one.label.starts_with("idna")));
    assert!(!python.parts().is_empty());
    let later = bench.driver().await;
    later.record(TraceConfig::new(folders[1].path()));
    settled(&later, "idna,six,packaging").await;
    assert_eq!(within(later.flush_trace()).await, None);
    let (met, residents, catalog) = read(files_in(folders[1].path()).unwrap());
    assert!(met == [Met::Hit] && residents >= 1, "{met:?} {residents}");
    let answer = within(later.maintain(&hybrid_cache_driver::Epoch::Standing, PodMaintenanceCommand::Usage)).await;
    let Ok(PodMaintainReport::Maintained {
        report: MaintainReport::Usage(usage),
    }) = answer
    else {
        panic!("{answer:?}")
    };
    // Other tests use the same volumes, so environments may come in between and downloads may wait for one.
    let python = catalog.volume(Volume::Python);
    let predicted = (python.union() + python.rest).bytes;
    let measured = usage.volume_bytes("python") - usage.garbage_of("python").map_or(0, |garbage| garbage.bytes);
    assert!(predicted > measured / 2, "predicted {predicted}, measured {measured}");
}
