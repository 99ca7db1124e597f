//! Checks of the standby pods, if `up` recorded any.

use crate::doctor::facts::{Fact, Facts, Standby};
use crate::doctor::finding::Finding;

const UP: &str = "cargo xtask up";

/// Both findings; none if no standby pods are recorded.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let Fact::Known(cluster) = &facts.cluster else {
        return Vec::new();
    };
    match &cluster.standby {
        None => Vec::new(),
        Some(Fact::Unknown(why)) => vec![Finding::skipped("standby.rights", why.clone())],
        Some(Fact::Known(standby)) => vec![rights(standby), ready(standby)],
    }
}

fn rights(standby: &Standby) -> Finding {
    const ID: &str = "standby.rights";
    match standby.missing_rights.as_slice() {
        [] => Finding::good(ID, "this account may make standby pods, claim them and connect to them"),
        missing => Finding::bad(
            ID,
            format!("this account may not {}, so its tasks run as Jobs", missing.join(", ")),
            "an administrator grants it, as manifests/rbac.yaml does to the service; or keep no standby pods: `cargo xtask up --standby \
             none`",
        ),
    }
}

fn ready(standby: &Standby) -> Finding {
    const ID: &str = "standby.ready";
    let (report, least) = (&standby.report, standby.least);
    // A pod that was claimed a moment ago is being replaced.
    if report.ready + report.claimed >= least && report.trouble.is_none() {
        return Finding::good(ID, format!("{} standby pods are ready", report.ready));
    }
    let fact = format!("{} of {least} standby pods are ready", report.ready);
    match &report.trouble {
        Some(trouble) => {
            let (why, hint) = trouble
                .split_once("\nhint: ")
                .unwrap_or((trouble, "make room for them, or ask for fewer with --standby"));
            Finding::warning(ID, format!("{fact}: {why}"), hint)
        }
        None => Finding::warning(
            ID,
            fact,
            format!("{UP} makes them; so does the next `run`, `serve` or `bench`"),
        ),
    }
}
