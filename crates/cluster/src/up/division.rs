//! How the claims of both volumes are divided: the same division as that of `size`.

use hybrid_cache_report::units;
use hybrid_cache_sizing::claim::{Claim, FileSystem};
use hybrid_cache_sizing::recommend::building_bytes;
use hybrid_cache_sizing::{Source, Volume, Weight};

/// The line for one volume. `file_system` is `None` for a folder of the node; `recorded` has the requests of the cluster, if any
/// are recorded.
pub fn line(volume: Volume, bytes: u64, file_system: Option<FileSystem>, recorded: Option<&dyn Source>) -> String {
    let division = |building| Claim::with_default_budget(bytes, file_system, building);
    let budget = division(0).budget;
    let built = recorded.and_then(|source| peak(source, volume, budget));
    let claim = division(built.unwrap_or(0));
    let rest = match built {
        Some(built) => format!(
            "{} for concurrent builds (recorded peak) + {} headroom",
            units::bytes(built),
            units::bytes(claim.headroom_bytes)
        ),
        None => format!(
            "{} for concurrent builds and headroom (no peak is recorded)",
            units::bytes(claim.headroom_bytes)
        ),
    };
    let own = match file_system {
        Some(file_system) => format!(
            "{} for the file system ({} assumed)",
            units::bytes(claim.file_system_bytes),
            file_system.name()
        ),
        None => "nothing for the file system, a folder of the node".to_owned(),
    };
    let needed = claim
        .budget
        .bytes
        .saturating_add(claim.building_bytes)
        .saturating_add(claim.file_system_bytes);
    let too_small = match needed > bytes {
        true => format!("; that is {} too small for these builds", units::bytes(needed - bytes)),
        false => String::new(),
    };
    format!(
        "{} volume: claim {} = budget {} + {rest} + {own}{too_small}",
        volume.name(),
        units::bytes(bytes),
        units::bytes(claim.budget.bytes)
    )
}

/// The peak use of a volume; `None` if no request used the volume.
fn peak(source: &dyn Source, volume: Volume, budget: Weight) -> Option<u64> {
    let peak = building_bytes(source, volume, budget).ok()?;
    (peak > 0).then_some(peak)
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::budget::BudgetRequest;
    use hybrid_cache_sizing::claim::{GIB, by_default};
    use hybrid_cache_sizing::synthetic::{generate, preset};

    use super::*;

    #[test]
    fn the_line_of_a_volume_has_the_parts_of_its_claim() {
        let text = line(Volume::Python, 20 * GIB, None, None);
        assert!(
            text.starts_with("python volume: claim 20.0 GiB = budget 17.6 GiB + 2.40 GiB for concurrent builds"),
            "{text}"
        );
        assert!(text.contains("a folder of the node"), "{text}");
        let trace = generate(&preset("team").unwrap());
        let text = line(Volume::System, 40 * GIB, Some(FileSystem::Ext4), Some(&trace));
        assert!(
            text.contains("for concurrent builds (recorded peak)") && text.contains("(ext4 assumed)"),
            "{text}"
        );
        let text = line(Volume::Python, GIB / 64, None, Some(&trace));
        assert!(text.contains("too small for these builds"), "{text}");
    }

    #[test]
    fn the_budget_that_is_told_is_the_one_that_runners_keep_to() {
        for bytes in [0, 99, GIB, 10 * GIB + 12_345, u64::MAX] {
            assert_eq!(BudgetRequest::default_on_claim(bytes), by_default(bytes));
        }
    }
}
