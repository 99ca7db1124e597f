//! Colours of phases by family, after Okabe and Ito: hue is the family, lightness the member. Every figure also has labels
//! and a table.

use hybrid_cache_model::{Phase, Temperature};

/// The CSS class that fills a phase's shape; see `style.css`.
pub(super) fn phase_class(phase: Option<Phase>) -> &'static str {
    match phase {
        None => "p-none",
        Some(Phase::Service) => "p-service",
        Some(Phase::Queue) => "p-queue",
        Some(Phase::BringTools) => "p-tools",
        Some(Phase::Submit) => "p-submit",
        Some(Phase::Claim) => "p-claim",
        Some(Phase::Schedule) => "p-schedule",
        Some(Phase::Sandbox) => "p-sandbox",
        Some(Phase::Observe) => "p-observe",
        Some(Phase::Lookup) => "p-lookup",
        Some(Phase::Lease) => "p-lease",
        Some(Phase::LockWait) => "p-lock",
        Some(Phase::PythonVenv) => "p-venv",
        Some(Phase::PythonInstall) => "p-install",
        Some(Phase::PythonBuild) => "p-build",
        Some(Phase::PythonVerify) => "p-verify",
        Some(Phase::PythonBytecode) => "p-bytecode",
        Some(Phase::PythonPublish) => "p-pypublish",
        Some(Phase::SystemBootstrap) => "p-bootstrap",
        Some(Phase::SystemRealise) => "p-realise",
        Some(Phase::SystemPublish) => "p-syspublish",
        Some(Phase::Start) => "p-start",
        Some(Phase::UserCode) => "p-user",
        Some(Phase::Drain) => "p-drain",
    }
}

/// The CSS class of a temperature's marks.
pub(crate) fn temperature_class(temperature: Temperature) -> &'static str {
    match temperature {
        Temperature::Uncached => "t-uncached",
        Temperature::First => "t-first",
        Temperature::Cached => "t-cached",
    }
}
