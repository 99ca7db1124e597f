//! Reads what else the machine does: the kernel's counters of pressure, stolen time, run-queue delay and throttling.
//!
//! Two readings enclose a sample. Each takes some tenths of a millisecond, outside the time that is measured. What a kernel does
//! not offer is left out: pressure needs Linux 4.20 with `CONFIG_PSI`, and few virtual machines show frequencies.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hybrid_cache_model::host_noise::HostNoise;

/// Most processors whose frequency and throttling are read: each file may interrupt its processor.
const MOST_CPUS: usize = 16;

/// Jiffies of all processors together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTimes {
    total: u64,
    steal: u64,
}

impl CpuTimes {
    /// Source: proc_stat(5), the line `cpu`: user nice system idle iowait irq softirq steal guest guest_nice, where user and nice
    /// already include the two guest values.
    fn parse(text: &str) -> Option<CpuTimes> {
        let line = text.lines().find(|line| line.starts_with("cpu "))?;
        let fields: Vec<u64> = line
            .split_ascii_whitespace()
            .skip(1)
            .map_while(|field| field.parse().ok())
            .collect();
        Some(CpuTimes {
            total: fields.iter().take(8).sum(),
            steal: *fields.get(7)?,
        })
    }

    /// Share of time stolen since `before`, 0 to 1; `None` if no time has passed.
    fn steal_since(self, before: CpuTimes) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)?;
        #[expect(clippy::cast_precision_loss, reason = "jiffies of one sample are far below 2^52")]
        Some(self.steal.saturating_sub(before.steal) as f64 / total as f64)
    }
}

/// One file of `/proc/pressure`: microseconds since the machine's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pressure {
    some_us: Option<u64>,
    full_us: Option<u64>,
}

impl Pressure {
    /// Source: the kernel's Documentation/accounting/psi.rst. `full` is absent for the CPU before Linux 5.13.
    fn parse(text: &str) -> Pressure {
        let total = |kind: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
            let mut fields = line.split_ascii_whitespace();
            fields.find_map(|field| field.strip_prefix("total="))?.parse().ok()
        };
        Pressure {
            some_us: total("some "),
            full_us: total("full "),
        }
    }
}

/// Nanoseconds that a thread was ready and waited for a processor: the second field of its `schedstat`.
fn run_delay_ns(text: &str) -> Option<u64> {
    let mut fields = text.split_ascii_whitespace();
    let (_, delay, slices) = (fields.next()?, fields.next()?, fields.next()?);
    // The third field is looked at so that a number that was cut off is not taken for a whole one.
    slices.parse::<u64>().ok().and(delay.parse().ok())
}

/// The kernel's counters at one instant.
pub struct HostReading {
    at: Instant,
    cpu: Option<CpuTimes>,
    pressure: [Pressure; 3],
    run_delay_ns: Option<u64>,
    throttled: Option<u64>,
    /// Frequencies of the slowest and the fastest processor, in kHz.
    khz: Option<(u64, u64)>,
}

impl HostReading {
    /// Reads this machine's.
    pub fn now() -> HostReading {
        HostReading::below(Path::new("/"))
    }

    fn below(root: &Path) -> HostReading {
        let text = |path: &str| fs::read_to_string(root.join(path));
        let pressure = |of: &str| {
            // Without support, or with psi=0 on the kernel's command line, there is no file or it cannot be opened.
            let text = text(&format!("proc/pressure/{of}"));
            text.map(|text| Pressure::parse(&text)).unwrap_or_default()
        };
        let cpus = cpu_folders(&root.join("sys/devices/system/cpu"));
        let khz = numbers(&cpus, &["cpufreq/scaling_cur_freq"]);
        let throttles = ["core", "package"].map(|what| format!("thermal_throttle/{what}_throttle_count"));
        let throttles = numbers(&cpus, &throttles.each_ref().map(String::as_str));
        HostReading {
            pressure: ["cpu", "io", "memory"].map(pressure),
            cpu: text("proc/stat").ok().and_then(|text| CpuTimes::parse(&text)),
            run_delay_ns: own_run_delay_ns(&root.join("proc/self/task")),
            throttled: (!throttles.is_empty()).then(|| throttles.iter().sum()),
            khz: khz.iter().copied().min().zip(khz.iter().copied().max()),
            at: Instant::now(),
        }
    }

    /// Share of CPU time stolen since `before`, 0 to 1; `None` if the kernel does not report it or no time has passed.
    pub fn steal_since(&self, before: &HostReading) -> Option<f64> {
        let both = self.cpu.zip(before.cpu);
        both.and_then(|(after, before)| after.steal_since(before))
    }

    /// What happened since `before`.
    pub fn since(&self, before: &HostReading) -> HostNoise {
        let less = |after: Option<u64>, before: Option<u64>| Some(after?.saturating_sub(before?));
        let [cpu, io, memory] = [0, 1, 2].map(|at| {
            let (after, before) = (self.pressure[at], before.pressure[at]);
            (less(after.some_us, before.some_us), less(after.full_us, before.full_us))
        });
        let window = self.at.saturating_duration_since(before.at).as_micros();
        HostNoise {
            window_us: u64::try_from(window).unwrap_or(u64::MAX),
            // `full` of the CPU is always 0 for a whole machine.
            cpu_some_us: cpu.0,
            io_some_us: io.0,
            io_full_us: io.1,
            memory_some_us: memory.0,
            memory_full_us: memory.1,
            run_delay_us: less(self.run_delay_ns, before.run_delay_ns).map(|ns| ns / 1000),
            throttled: less(self.throttled, before.throttled),
            slowest_khz: self.khz.map(|khz| khz.0),
            fastest_khz: self.khz.map(|khz| khz.1),
        }
    }
}

/// Folders of processors, `cpu0` and so on.
fn cpu_folders(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let is_cpu = |name: &str| {
        let number = name.strip_prefix("cpu");
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let folders = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_cpu));
    folders.map(|entry| entry.path()).take(MOST_CPUS).collect()
}

/// The numbers in these files of every processor; files that are missing or hold something else are left out.
fn numbers(cpus: &[PathBuf], files: &[&str]) -> Vec<u64> {
    let all = cpus.iter().flat_map(|cpu| files.iter().map(move |file| cpu.join(file)));
    all.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
        .collect()
}

/// The sum over the threads of this process.
fn own_run_delay_ns(threads: &Path) -> Option<u64> {
    let entries = fs::read_dir(threads).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| run_delay_ns(&fs::read_to_string(entry.path().join("schedstat")).ok()?);
    entries.filter_map(read).reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESSURE: &str = "some avg10=4.12 avg60=1.40 avg300=1.12 total=834081171\nfull avg10=0.00 avg60=0.00 avg300=0.06 total=145329261\n";

    #[test]
    fn steal_is_the_share_of_the_time_that_passed() {
        let before = CpuTimes::parse("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1 1 1").unwrap();
        let after = CpuTimes::parse("cpu  20 0 20 150 0 0 0 10 5 0\n").unwrap();
        assert_eq!(after.steal_since(before), Some(0.1));
        assert_eq!(before.steal_since(before), None);
    }

    #[test]
    fn pressure_and_run_delay_are_read_and_what_was_cut_off_is_absent() {
        let whole = Pressure {
            some_us: Some(834_081_171),
            full_us: Some(145_329_261),
        };
        assert_eq!(Pressure::parse(PRESSURE), whole);
        let some_alone = Pressure { full_us: None, ..whole };
        for cut in [
            PRESSURE.lines().next().unwrap(),
            &PRESSURE[..PRESSURE.find("full").unwrap() + 20],
            &PRESSURE.replace("total=145329261", "total="),
            &PRESSURE.replace("total=145329261", "total=12x"),
        ] {
            assert_eq!(Pressure::parse(cut), some_alone, "{cut:?}");
        }
        for nothing in ["", "some", "some avg10=0.00", "total=5", "\u{0}\n"] {
            assert_eq!(Pressure::parse(nothing), Pressure::default(), "{nothing:?}");
        }
        assert_eq!(run_delay_ns("691927 66073 1\n"), Some(66_073));
        for cut in ["", "691927", "691927 66", "a b c", "1 -2 3"] {
            assert_eq!(run_delay_ns(cut), None, "{cut:?}");
        }
    }

    /// A machine that offers everything; `step` moves its counters on.
    fn write_machine(root: &Path, step: u64) {
        let write = |path: &str, text: String| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (of, some, full) in [("cpu", 1000, 0), ("io", 200, 100), ("memory", 20, 10)] {
            let line = |kind, us: u64| format!("{kind} avg10=0.00 avg60=0.00 avg300=0.00 total={}\n", 7 + us * step);
            write(&format!("proc/pressure/{of}"), line("some", some) + &line("full", full));
        }
        write("proc/stat", format!("cpu  {0} 0 0 {0} 0 0 0 {0} 0 0\n", 100 * step));
        for (thread, ns) in [(1, 5000), (2, 3000)] {
            write(
                &format!("proc/self/task/{thread}/schedstat"),
                format!("9 {} 4\n", ns * step),
            );
        }
        for cpu in 0..2 {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}");
            write(
                &format!("{folder}/cpufreq/scaling_cur_freq"),
                format!("{}\n", 2_000_000 + cpu * 500_000),
            );
            write(
                &format!("{folder}/thermal_throttle/core_throttle_count"),
                format!("{step}\n"),
            );
        }
        write("sys/devices/system/cpu/cpufreq/boost", "1\n".into());
    }

    #[test]
    fn two_readings_give_what_happened_between_them() {
        let root = tempfile::tempdir().unwrap();
        write_machine(root.path(), 1);
        let before = HostReading::below(root.path());
        write_machine(root.path(), 3);
        let after = HostReading::below(root.path());
        let noise = after.since(&before);
        let expected = HostNoise {
            window_us: noise.window_us,
            cpu_some_us: Some(2000),
            io_some_us: Some(400),
            io_full_us: Some(200),
            memory_some_us: Some(40),
            memory_full_us: Some(20),
            run_delay_us: Some(16),
            throttled: Some(4),
            slowest_khz: Some(2_000_000),
            fastest_khz: Some(2_500_000),
        };
        assert_eq!(noise, expected);
        assert!(noise.window_us > 0);
        assert!((after.steal_since(&before).unwrap() - 1.0 / 3.0).abs() < 1e-12);
        // Counters of a machine that was suspended or restarted never count backwards.
        assert_eq!(before.since(&after).cpu_some_us, Some(0));
    }

    #[test]
    fn a_kernel_that_offers_nothing_gives_a_window_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let (before, after) = (HostReading::below(root.path()), HostReading::below(root.path()));
        let noise = after.since(&before);
        let expected = HostNoise {
            window_us: noise.window_us,
            ..HostNoise::default()
        };
        assert_eq!((noise, after.steal_since(&before)), (expected, None));
        // Without pressure, the rest is still read.
        write_machine(root.path(), 1);
        fs::remove_dir_all(root.path().join("proc/pressure")).unwrap();
        let reading = HostReading::below(root.path());
        assert!(reading.cpu.is_some() && reading.run_delay_ns == Some(8000));
        assert_eq!(
            reading.since(&before).cpu_some_us,
            None,
            "one reading alone says nothing"
        );
    }

    #[test]
    fn this_machine_can_be_read() {
        let before = HostReading::now();
        let after = HostReading::now();
        let noise = after.since(&before);
        let offered = Path::new("/proc/pressure/cpu").exists() && fs::read_to_string("/proc/pressure/cpu").is_ok();
        assert_eq!(noise.cpu_some_us.is_some(), offered, "{noise:?}");
    }
}
