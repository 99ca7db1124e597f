//! The standby pods of `up`: recorded in the cluster, made, and waited for.

use std::time::Duration;

use hybrid_cache_driver::kube::{KubeConfig, StandbyRange};
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::Tenant;
use hybrid_cache_tools::{Error, Result, Steps};

use crate::names::STANDBY_POOL;
use crate::options::{ServiceDriver, StandbyChoice, UpOptions};
use crate::plan::{Decision, Planned};
use crate::resource_kinds::REPLICA_SET;
use crate::setup_record::SetupRecord;
use crate::standby;
use crate::task_setup::TaskSetup;
use crate::up::context::UpContext;
use crate::up::report::StandbyEnd;

/// The step's name.
pub const STEP: &str = "standby";
/// How long all pods may take to be ready; the image is on the node by then, at least in a kind cluster.
const FILL_TIMEOUT: Duration = Duration::from_secs(60);

/// Refuses options that exclude each other.
///
/// # Errors
/// The service is to run tasks as Workflows, and standby pods are asked for.
pub fn check(options: &UpOptions) -> Result<()> {
    let wants_pods = matches!(options.cluster.standby, StandbyChoice::Pods(_));
    if wants_pods && options.with_service == Some(ServiceDriver::Argo) {
        return Err(Error::input(
            "standby pods replace Jobs, and --with-service=argo runs tasks as Workflows of Argo\nhint: leave out --standby, or \
             run the service with `--with-service=kube`",
        ));
    }
    Ok(())
}

/// What has to be done; `None` if there are no standby pods and none are asked for.
pub fn plan(setup: &TaskSetup, ready: u64) -> Option<Planned> {
    let planned = |decision, what: String| Some(Planned::new(STEP, decision, what));
    match (setup.recorded_standby, setup.record.standby) {
        (None, None) => None,
        (Some(before), None) => planned(Decision::Change, format!("{before} standby pods: none any longer")),
        (None, Some(wanted)) => planned(Decision::Create, format!("{wanted} standby pods")),
        (Some(before), Some(wanted)) if before != wanted => {
            planned(Decision::Change, format!("{wanted} standby pods instead of {before}"))
        }
        (_, Some(wanted)) if ready < u64::from(wanted.min()) => {
            planned(Decision::Create, format!("{ready} of {wanted} standby pods are ready"))
        }
        (_, Some(_)) => planned(Decision::Nothing, format!("{ready} standby pods are ready")),
    }
}

/// Records the standby pods, makes those of the default tenant and waits for them. `None` if there are none and none are asked for.
/// Pods that do not become ready are no error: tasks run as Jobs meanwhile.
///
/// # Errors
/// The record cannot be written, or the cluster does not answer.
pub async fn bring(up: &UpContext<'_>, setup: &TaskSetup, steps: &Steps<'_>) -> Result<Option<StandbyEnd>> {
    if setup.recorded_standby != setup.record.standby {
        SetupRecord::change(&up.api, |record| record.standby = setup.record.standby).await?;
    }
    match (setup.recorded_standby, setup.record.standby) {
        (None, None) => Ok(None),
        (Some(_), None) => {
            steps.begin(STEP, "deleting the standby pods");
            up.api
                .delete_labelled(REPLICA_SET, &up.api.namespace, STANDBY_POOL)
                .await?;
            steps.end("there are none any longer");
            Ok(None)
        }
        (_, Some(range)) => {
            steps.begin(STEP, &format!("waiting for {range} standby pods to be ready"));
            let end = fill(up, range).await?;
            steps.end(if end.is_ready {
                "they are ready"
            } else {
                "they are not ready"
            });
            Ok(Some(end))
        }
    }
}

async fn fill(up: &UpContext<'_>, range: StandbyRange) -> Result<StandbyEnd> {
    let missing = standby::missing_rights(&up.api).await?;
    if !missing.is_empty() {
        let why = format!(
            "this account may not {}\nhint: manifests/rbac.yaml has the rights of a driver",
            missing.join(", ")
        );
        return Ok(StandbyEnd::not_ready(&why));
    }
    let config = KubeConfig {
        standby: Some(range),
        ..up.config.clone()
    };
    let driver = up.api.driver(config).await?;
    let filled = driver
        .fill_standby(&Epoch::Standing, &Tenant::default(), FILL_TIMEOUT)
        .await;
    let Err(failure) = filled else {
        let ready = driver.standby().map_or(0, |status| status.ready);
        return Ok(StandbyEnd::ready(ready, range));
    };
    let seen = standby::read(&up.api, Some(range)).await?;
    // A quota's refusal is in both; what keeps a pod from starting only the pods say.
    let trouble = seen
        .and_then(|seen| seen.trouble)
        .filter(|why| !failure.message.contains(why.as_str()));
    Ok(StandbyEnd::not_ready(&match trouble {
        Some(why) => format!("{}: {why}", failure.message),
        None => failure.to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ClusterChoice;

    fn setup(before: Option<&str>, wanted: Option<&str>) -> TaskSetup {
        let range = |text: &str| text.parse().unwrap();
        TaskSetup {
            record: SetupRecord {
                standby: wanted.map(range),
                ..SetupRecord::default()
            },
            recorded_standby: before.map(range),
            ..TaskSetup::empty()
        }
    }

    #[test]
    fn a_second_up_has_nothing_to_do_until_pods_are_missing_or_others_are_asked_for() {
        let planned = |before, wanted, ready| {
            let planned = plan(&setup(before, wanted), ready)?;
            Some((planned.decision, planned.what))
        };
        assert_eq!(planned(None, None, 0), None);
        let create = planned(None, Some("4"), 0).unwrap();
        assert_eq!(create, (Decision::Create, "4 standby pods".to_owned()));
        assert_eq!(planned(Some("4"), Some("4"), 4).unwrap().0, Decision::Nothing);
        assert_eq!(planned(Some("0..4"), Some("0..4"), 0).unwrap().0, Decision::Nothing);
        let missing = planned(Some("2..8"), Some("2..8"), 1).unwrap();
        assert_eq!(
            missing,
            (Decision::Create, "1 of 2..8 standby pods are ready".to_owned())
        );
        assert_eq!(planned(Some("4"), Some("2..8"), 4).unwrap().0, Decision::Change);
        let ended = planned(Some("4"), None, 4).unwrap();
        assert_eq!(ended, (Decision::Change, "4 standby pods: none any longer".to_owned()));
    }

    #[test]
    fn standby_pods_beside_a_service_on_argo_are_refused_before_anything_is_done() {
        let mut options = UpOptions {
            cluster: ClusterChoice {
                standby: "4".parse().unwrap(),
                ..ClusterChoice::default()
            },
            with_service: Some(ServiceDriver::Argo),
            ..UpOptions::default()
        };
        let refused = check(&options).unwrap_err();
        assert_eq!(refused.class(), hybrid_cache_tools::ErrorClass::Input);
        options.with_service = Some(ServiceDriver::Kube);
        check(&options).unwrap();
        // Recorded ones stay for the other drivers.
        options.with_service = Some(ServiceDriver::Argo);
        options.cluster.standby = StandbyChoice::Recorded;
        check(&options).unwrap();
    }

    #[test]
    fn the_last_line_says_how_many_are_ready_or_why_not() {
        let line = |ready, range: &str| StandbyEnd::ready(ready, range.parse().unwrap()).line;
        assert!(
            line(4, "4").starts_with("standby pods: 4 ready, for cached tasks of `run`"),
            "{}",
            line(4, "4")
        );
        assert!(
            line(0, "0..4").contains("0 ready, up to 4 follow arrivals"),
            "{}",
            line(0, "0..4")
        );
        let end = StandbyEnd::not_ready("0 of 4 standby pods are ready after 60 s: exceeded quota");
        assert!(
            !end.is_ready && end.line.contains("exceeded quota") && end.line.contains("as Jobs"),
            "{}",
            end.line
        );
    }
}
