//! Profiles of synthetic traces, and the presets.

/// The parameters of a trace.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Profile {
    /// Days that the trace covers.
    pub days: u32,
    /// Requests per day.
    pub requests_per_day: f64,
    /// Programs in use at one time.
    pub programs: usize,
    /// New programs per day.
    pub new_per_day: f64,
    /// Exponent of the Zipf law: 0 is uniform, 1 is common.
    pub zipf: f64,
    /// Share of the ranks that change per day.
    pub drift_per_day: f64,
    /// Share of requests that come in bursts from programs that are never used again.
    pub one_off: f64,
    /// Tenants: each has its own programs, and therefore its own environments. Parts are shared.
    pub tenants: usize,
    /// How much quieter nights are: 0 not at all, 1 silent.
    pub night: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

/// The presets, with what they represent.
pub const PRESETS: [(&str, &str, Profile); 3] = [
    (
        "team",
        "a small team: three tenants, sixty programs, 400 tasks a day, four weeks",
        Profile {
            days: 28,
            requests_per_day: 400.0,
            programs: 60,
            new_per_day: 2.0,
            zipf: 1.0,
            drift_per_day: 0.02,
            one_off: 0.04,
            tenants: 3,
            night: 0.95,
            seed: 1,
        },
    ),
    (
        "ci",
        "continuous integration: ten tenants, 150 programs, 3,000 tasks a day in bursts, four weeks",
        Profile {
            days: 28,
            requests_per_day: 3000.0,
            programs: 150,
            new_per_day: 6.0,
            zipf: 0.8,
            drift_per_day: 0.05,
            one_off: 0.1,
            tenants: 10,
            night: 0.7,
            seed: 2,
        },
    ),
    (
        "agents",
        "an agent platform: forty tenants, 1,500 programs, 12,000 sandboxes a day, two weeks",
        Profile {
            days: 14,
            requests_per_day: 12_000.0,
            programs: 1500,
            new_per_day: 60.0,
            zipf: 1.0,
            drift_per_day: 0.1,
            one_off: 0.06,
            tenants: 40,
            night: 0.3,
            seed: 3,
        },
    ),
];

/// The preset with this name.
pub fn preset(name: &str) -> Option<Profile> {
    PRESETS
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(.., profile)| *profile)
}
