//! What a task's own `resources` become on this machine: memory is a control group's bound, disk the size of `/tmp`, and CPU
//! only the number of threads that numeric libraries start.

use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::resources::ResourceKind;
use hybrid_cache_model::{TaskErrors, TaskResources, quantity};

/// Refuses more than these limits allow. Without a limit on memory a task may ask for any amount of it.
///
/// # Errors
/// Every amount that is too large.
pub fn check(asked: &TaskResources, limits: &Limits) -> Result<(), TaskErrors> {
    let most = TaskResources {
        cpu: None,
        memory: (limits.memory_bytes > 0).then(|| quantity::from_bytes(limits.memory_bytes)),
        disk: Some(quantity::from_bytes(limits.tmp_bytes)),
    };
    asked.check_within(&most, |kind| match kind {
        ResourceKind::Disk => "`--tmp-size`".to_owned(),
        ResourceKind::Cpu | ResourceKind::Memory => "`--memory`".to_owned(),
    })
}

/// The limits of a task that asks for these resources.
pub fn bounded(limits: &Limits, asked: &TaskResources) -> Limits {
    let bytes = |kind: ResourceKind| asked.get(kind).and_then(quantity::bytes);
    let threads = asked.cpu.as_deref().and_then(quantity::whole_cpus);
    Limits {
        memory_bytes: bytes(ResourceKind::Memory).unwrap_or(limits.memory_bytes),
        tmp_bytes: bytes(ResourceKind::Disk).unwrap_or(limits.tmp_bytes),
        threads: threads.map_or(limits.threads, |threads| threads.min(limits.threads)),
        ..limits.clone()
    }
}

/// What the user should know of resources that this driver does not apply.
pub fn not_applied(asked: &TaskResources) -> Option<String> {
    let cpu = asked.cpu.as_ref()?;
    Some(format!(
        "`resources.cpu` of {cpu} is not enforced on this machine: it only sets how many threads numeric libraries start; \
         on a cluster it is a limit"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(cpu: &str, memory: &str, disk: &str) -> TaskResources {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        TaskResources {
            cpu: some(cpu),
            memory: some(memory),
            disk: some(disk),
        }
    }

    #[test]
    fn memory_and_disk_are_limits_and_cpu_is_a_number_of_threads() {
        let limits = Limits {
            threads: 4,
            ..Limits::default()
        };
        assert_eq!(bounded(&limits, &TaskResources::default()), limits);
        let bounded_to = |cpu: &str| bounded(&limits, &asking(cpu, "64Mi", "32Mi"));
        let one = bounded_to("500m");
        assert_eq!((one.memory_bytes, one.tmp_bytes, one.threads), (64 << 20, 32 << 20, 1));
        assert_eq!((bounded_to("2500m").threads, bounded_to("64").threads), (3, 4));
        assert!(not_applied(&asking("2", "", "")).unwrap().contains("not enforced"));
        assert_eq!(not_applied(&asking("", "1Gi", "1Gi")), None);
    }

    #[test]
    fn what_is_over_the_limit_names_the_option_that_raises_it() {
        let limits = Limits {
            memory_bytes: 1 << 30,
            ..Limits::default()
        };
        assert_eq!(check(&asking("64", "1Gi", "1Gi"), &limits), Ok(()));
        let errors = check(&asking("64", "2Gi", "1025Mi"), &limits).unwrap_err();
        assert_eq!(errors.total(), 2);
        let reported = errors.to_string();
        for part in [
            "/resources/memory: `2Gi` of memory is more than the limit for one task, `1Gi`",
            "can raise `--memory`",
            "/resources/disk: `1025Mi`",
            "can raise `--tmp-size`",
        ] {
            assert!(reported.contains(part), "{part}: {reported}");
        }
        assert_eq!(check(&asking("", "64Gi", ""), &Limits::default()), Ok(()));
    }
}
