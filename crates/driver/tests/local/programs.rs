//! Programs that expect what an ordinary machine has.

#[path = "../shared/programs.rs"]
mod shared;

use std::path::Path;

use hybrid_cache_driver::local::config::Network;
use hybrid_cache_driver::local::sandbox::basic_tools;
use hybrid_cache_model::TaskSpec;

use crate::bench::{Bench, machine, python};

/// The name of this machine's time zone; `None` if its link does not say it.
fn own_time_zone() -> Option<String> {
    let link = std::fs::canonicalize("/etc/localtime").ok()?;
    let name = link.strip_prefix("/usr/share/zoneinfo").ok()?;
    let text = std::fs::read_to_string("/etc/timezone").ok()?;
    let name = name.to_str()?.to_owned();
    (Path::new("/etc/localtime").is_symlink() && text.trim() == name).then_some(name)
}

#[tokio::test]
async fn the_host_name_the_time_zone_and_the_streams_are_as_on_an_ordinary_machine() {
    let test = "the_host_name_the_time_zone_and_the_streams_are_as_on_an_ordinary_machine";
    let Some(config) = machine(test) else { return };
    let Some(zone) = own_time_zone() else {
        println!("skipped: {test}: this machine's time zone has no name");
        return;
    };
    let bench = Bench::shared(config);
    for network in [Network::Isolated, Network::Shared, Network::None] {
        let bench = bench.with(|config| config.network = network);
        let ran = bench.run(&python("tzlocal", shared::EXPECTS_A_MACHINE)).await;
        let mut lines = ran.good().lines();
        assert_eq!(lines.next(), Some(zone.as_str()), "{network:?}");
        assert_eq!(lines.collect::<Vec<_>>(), shared::MACHINE_LINES, "{network:?}");
        assert_eq!(ran.stderr, "the other too\n", "{network:?}");
    }
}

#[tokio::test]
async fn scripts_find_the_basic_tools_that_this_machine_has() {
    let test = "scripts_find_the_basic_tools_that_this_machine_has";
    let Some(config) = machine(test) else { return };
    let is_here = |tool: &str| {
        ["/usr/bin", "/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(tool).exists())
    };
    if let Some(lacking) = ["ps", "which", "free"].into_iter().find(|tool| !is_here(tool)) {
        println!("skipped: {test}: this machine has no {lacking}");
        return;
    }
    let ran = Bench::shared(config)
        .run(&TaskSpec::new(shared::USES_BASIC_TOOLS))
        .await;
    let mut expected: Vec<&str> = basic_tools().filter(|tool| is_here(tool)).collect();
    expected.sort_unstable();
    assert_eq!(ran.good().split(' ').collect::<Vec<_>>(), expected);
}
