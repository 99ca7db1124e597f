//! Medians with their spread, printed in one line with how busy the machine was.

/// Measurements of one thing, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// Adds one.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The median, the upper one of two.
    pub fn median(&self) -> f64 {
        self.sorted()[self.0.len() / 2]
    }

    /// The least.
    pub fn least(&self) -> f64 {
        self.sorted()[0]
    }

    /// A 95 % interval of the median: order statistics, which assume nothing about the distribution.
    pub fn interval(&self) -> (f64, f64) {
        let (sorted, count) = (self.sorted(), self.0.len());
        let reach = (1..=count / 2)
            .take_while(|reach| (reach * reach) as f64 <= 0.9604 * count as f64)
            .count();
        let middle = count / 2;
        (
            sorted[middle - reach.min(middle)],
            sorted[(middle + reach).min(count - 1)],
        )
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (low, high) = self.interval();
        write!(
            f,
            "{:.2} [{low:.2}, {high:.2}] least {:.2} n {}",
            self.median(),
            self.least(),
            self.0.len()
        )
    }
}

/// The load average of the last minute, as the kernel writes it: figures of a busy machine are read with it.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
