//! CPU, memory and disk that one task asks for, in Kubernetes' notation, and how they are held against an operator's limits.
//!
//! They belong to the run and not to its packages, so no cache key contains them.

use serde::{Deserialize, Serialize};

use crate::quantity;
use crate::requirement::Refusal;
use crate::task_error::{Faults, TaskErrors};

/// The fields of [`TaskResources`] in JSON.
pub const RESOURCE_FIELDS: &[&str] = &["cpu", "memory", "disk"];
/// Least CPUs: with less, Python needs minutes to start.
const MIN_CPUS: f64 = 0.01;
/// Least bytes of memory and of disk: with less, no container starts.
const MIN_BYTES: u64 = 16 << 20;

/// Amounts of CPU, memory and disk, each as a Kubernetes quantity; `None` leaves the choice to the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TaskResources {
    /// CPUs: `500m`, `2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Bytes of memory: `512Mi`, `2Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Bytes of disk: `/tmp`, the working folder and the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
}

/// One of the amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// CPUs.
    Cpu,
    /// Bytes of memory.
    Memory,
    /// Bytes of disk.
    Disk,
}

impl ResourceKind {
    /// All of them.
    pub const ALL: [ResourceKind; 3] = [ResourceKind::Cpu, ResourceKind::Memory, ResourceKind::Disk];

    /// The name of the field.
    pub fn name(self) -> &'static str {
        match self {
            ResourceKind::Cpu => "cpu",
            ResourceKind::Memory => "memory",
            ResourceKind::Disk => "disk",
        }
    }

    /// The field of a task, as a JSON pointer.
    pub fn pointer(self) -> &'static str {
        match self {
            ResourceKind::Cpu => "/resources/cpu",
            ResourceKind::Memory => "/resources/memory",
            ResourceKind::Disk => "/resources/disk",
        }
    }

    /// Checks one amount.
    ///
    /// # Errors
    /// The text is not an amount of this kind, or it is less than any task needs.
    pub fn check(self, text: &str) -> Result<(), Refusal> {
        let (name, shown) = (self.name(), Refusal::quote(text));
        let value = quantity::plain_value(text);
        // `100m` is a tenth of a byte, and `100M` was meant.
        let value = value.filter(|_| self == ResourceKind::Cpu || quantity::bytes(text).is_some());
        let Some(value) = value else {
            let hint = match self {
                ResourceKind::Cpu => "write CPUs such as `\"500m\"` or `\"2\"`",
                ResourceKind::Memory | ResourceKind::Disk => "write bytes such as `\"512Mi\"` or `\"2Gi\"`",
            };
            return Err(Refusal::new(format!("{shown} is not an amount of {name}"), hint));
        };
        let (is_enough, least) = match self {
            ResourceKind::Cpu => (value >= MIN_CPUS, "10m"),
            ResourceKind::Memory | ResourceKind::Disk => (quantity::bytes(text) >= Some(MIN_BYTES), "16Mi"),
        };
        if is_enough {
            return Ok(());
        }
        let message = format!("{shown} of {name} is too little to start a program");
        Err(Refusal::new(message, format!("write at least `{least}`")))
    }
}

impl TaskResources {
    /// True if nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == TaskResources::default()
    }

    /// One of the amounts.
    pub fn get(&self, kind: ResourceKind) -> Option<&str> {
        self.slot(kind).as_deref()
    }

    /// Sets one of the amounts.
    pub fn set(&mut self, kind: ResourceKind, amount: String) {
        let slot = match kind {
            ResourceKind::Cpu => &mut self.cpu,
            ResourceKind::Memory => &mut self.memory,
            ResourceKind::Disk => &mut self.disk,
        };
        *slot = Some(amount);
    }

    fn slot(&self, kind: ResourceKind) -> &Option<String> {
        match kind {
            ResourceKind::Cpu => &self.cpu,
            ResourceKind::Memory => &self.memory,
            ResourceKind::Disk => &self.disk,
        }
    }

    /// The amounts that are set.
    pub fn amounts(&self) -> impl Iterator<Item = (ResourceKind, &str)> {
        let amount = |kind: ResourceKind| Some((kind, self.get(kind)?));
        ResourceKind::ALL.into_iter().filter_map(amount)
    }

    /// Checks what a task asks for.
    pub(crate) fn check(&self) -> Result<(), TaskErrors> {
        let mut faults = Faults::default();
        for (kind, text) in self.amounts() {
            if let Err(refusal) = kind.check(text) {
                faults.push(refusal.at(kind.pointer(), None));
            }
        }
        faults.result(())
    }

    /// Refuses amounts above `most`; an amount that `most` lacks has no limit. `raised_by` names what an operator changes to
    /// allow more of one kind. An amount that cannot be read is left to the check of the task.
    ///
    /// # Errors
    /// Every amount that is too large.
    pub fn check_within(
        &self,
        most: &TaskResources,
        raised_by: impl Fn(ResourceKind) -> String,
    ) -> Result<(), TaskErrors> {
        let mut faults = Faults::default();
        for (kind, asked) in self.amounts() {
            let Some(limit) = most.get(kind) else { continue };
            if quantity::is_more(asked, limit) {
                let (name, asked) = (kind.name(), Refusal::quote(asked));
                let message = format!("{asked} of {name} is more than the limit for one task, `{limit}`");
                let hint = format!("ask for at most `{limit}`; the operator can raise {}", raised_by(kind));
                faults.push(Refusal::new(message, hint).at(kind.pointer(), None));
            }
        }
        faults.result(())
    }

    /// The amounts as a person reads them: `cpu 2, memory 1Gi`; empty if nothing is set.
    pub fn shown(&self) -> String {
        let texts: Vec<_> = self
            .amounts()
            .map(|(kind, text)| format!("{} {text}", kind.name()))
            .collect();
        texts.join(", ")
    }
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
    fn amounts_have_kubernetes_notation_and_are_not_empty_promises() {
        for (cpu, memory, disk) in [
            ("", "", ""),
            ("500m", "512Mi", "2Gi"),
            ("2", "16Mi", "16777216"),
            ("0.5", "1.5Gi", "100M"),
        ] {
            assert_eq!(asking(cpu, memory, disk).check(), Ok(()), "{cpu} {memory} {disk}");
        }
        for cpu in [
            "two", "-1", "+1", "1e3", "0", "9m", " 1", "1 ", "inf", "NaN", "0x1", "1 CPU",
        ] {
            assert!(asking(cpu, "", "").check().is_err(), "{cpu}");
        }
        for bytes in ["512m", "1GB", "1GiB", "1Mi", "0", "-1Gi", "1e9", "lots", "Gi"] {
            assert!(asking("", bytes, "").check().is_err(), "{bytes}");
            assert!(asking("", "", bytes).check().is_err(), "{bytes}");
        }
    }

    #[test]
    fn every_fault_has_its_field_and_what_to_write() {
        let errors = asking("many", "512m", "1Ki").check().unwrap_err();
        assert_eq!(errors.total(), 3);
        let reported = errors.to_string();
        for part in [
            "/resources/cpu: `many` is not an amount of cpu",
            "`\"500m\"`",
            "/resources/memory: `512m` is not an amount of memory",
            "`\"512Mi\"`",
            "/resources/disk: `1Ki` of disk is too little",
            "`16Mi`",
        ] {
            assert!(reported.contains(part), "{part}: {reported}");
        }
    }

    #[test]
    fn what_is_over_the_limit_names_the_limit_and_who_can_raise_it() {
        let most = asking("2", "1Gi", "");
        let within = |asked: TaskResources| asked.check_within(&most, |kind| format!("`maximum.{}`", kind.name()));
        assert_eq!(within(asking("2000m", "1024Mi", "1Ti")), Ok(()));
        assert_eq!(within(asking("", "", "")), Ok(()));
        // What is no amount at all is the other check's.
        assert_eq!(within(asking("many", "", "")), Ok(()));
        let errors = within(asking("2001m", "1025Mi", "")).unwrap_err();
        assert_eq!(errors.total(), 2);
        let reported = errors.to_string();
        for part in [
            "/resources/cpu: `2001m` of cpu is more than the limit for one task, `2`",
            "the operator can raise `maximum.cpu`",
            "/resources/memory: `1025Mi` of memory is more",
            "ask for at most `1Gi`",
        ] {
            assert!(reported.contains(part), "{part}: {reported}");
        }
    }

    #[test]
    fn they_are_written_and_shown_as_they_were_asked_for() {
        let asked = asking("500m", "", "1Gi");
        assert_eq!(serde_json::to_string(&asked).unwrap(), r#"{"cpu":"500m","disk":"1Gi"}"#);
        assert_eq!(asked.shown(), "cpu 500m, disk 1Gi");
        assert!(!asked.is_empty() && TaskResources::default().is_empty());
        assert!(serde_json::from_str::<TaskResources>(r#"{"gpu": "1"}"#).is_err());
        let named: Vec<_> = ResourceKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(named, RESOURCE_FIELDS);
    }
}
