//! Lists environments and their parts from the ledger. Request traces are written from these lists.
//!
//! In a trace, a part that was evicted and downloaded again must keep its id. uv unpacks a wheel to a new folder each
//! time, so a wheel's id is a hash of its description. Folders of bytecode and store paths are already named by
//! content.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::contents::{Contents, EnvironmentContents, PartContents, VolumeContents, Weight, name_of};
use hybrid_cache_model::protocol::EnvironmentContext;
use hybrid_cache_model::{Failure, PythonRequest, RequestKey, SystemKey, Task, Tenant};

use super::python::usage;

use crate::ledger::{self, Ledger, Member, Part, PartId};
use crate::python::PythonVolume;
use crate::python::environment::{MANIFEST_FILE, Manifest, VENV};
use crate::python::record;
use crate::store::folder::{entries, relative};
use crate::store::measure::DiskUsage;
use crate::system::{SystemVolume, index_entries};

/// How long to wait for another writer of the ledger; after that it is read and not saved.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(5);
/// How many of an environment's packages its label names.
const MAX_LABEL_PACKAGES: usize = 4;
/// Longest label in characters; a name in a damaged file can be arbitrarily long.
const MAX_LABEL_CHARS: usize = 120;
/// The files in `*.dist-info` that describe a wheel. uv links both unchanged.
const DESCRIPTION: [&str; 2] = ["METADATA", "WHEEL"];

/// All environments of a Python volume.
///
/// # Errors
/// The volume cannot be read.
pub fn python(volume: &PythonVolume) -> Result<VolumeContents, Failure> {
    let mut open = ledger::open_python(volume, Instant::now() + LEDGER_TIMEOUT)?;
    let mut rest = ledger::python_rest(volume)?;
    open.ledger.set_rest(rest);
    rest += usage::beside(volume)?;
    let members = open.ledger.members().values();
    Ok(python_contents(volume, &open.ledger, members, rest))
}

/// All sets of system packages of a system volume.
///
/// # Errors
/// The volume cannot be read.
pub fn system(volume: &SystemVolume) -> Result<VolumeContents, Failure> {
    let mut open = ledger::open_system(volume, Instant::now() + LEDGER_TIMEOUT)?;
    let rest = ledger::system_rest(volume)?;
    open.ledger.set_rest(rest);
    let members = open.ledger.members().values();
    Ok(system_contents(volume, &open.ledger, members, rest))
}

/// The environments that a task's requests point to. Those that are not published are left out.
pub fn task_contents(context: &EnvironmentContext, task: &Task) -> Contents {
    let found = |found: Result<Option<VolumeContents>, Failure>| found.ok().flatten();
    Contents {
        python: found(task_python(context, task)),
        system: found(task_system(context, task)),
    }
}

fn task_python(context: &EnvironmentContext, task: &Task) -> Result<Option<VolumeContents>, Failure> {
    if task.requirements.is_empty() {
        return Ok(None);
    }
    let volume = PythonVolume::read(context)?;
    let request = RequestKey::new(&PythonRequest::of(task, context));
    let Ok(environment) = volume.requests().join(request.as_str()).canonicalize() else {
        return Ok(None);
    };
    let open = ledger::open_python(&volume, Instant::now() + LEDGER_TIMEOUT)?;
    let key = environment.file_name().unwrap_or_default();
    let name = volume.relative(&volume.environments().join(key));
    let member = open.ledger.members().get(&name);
    Ok(member.map(|member| python_contents(&volume, &open.ledger, [member], DiskUsage::default())))
}

fn task_system(context: &EnvironmentContext, task: &Task) -> Result<Option<VolumeContents>, Failure> {
    if task.system.is_empty() {
        return Ok(None);
    }
    let volume = SystemVolume::from_context(context);
    let path = volume.index_path(&SystemKey::new(&task.system, context));
    let open = ledger::open_system(&volume, Instant::now() + LEDGER_TIMEOUT)?;
    let member = open.ledger.members().get(&relative(volume.root(), &path));
    Ok(member.map(|member| system_contents(&volume, &open.ledger, [member], DiskUsage::default())))
}

fn python_contents<'a>(
    volume: &PythonVolume,
    ledger: &Ledger,
    members: impl IntoIterator<Item = &'a Member>,
    rest: DiskUsage,
) -> VolumeContents {
    // One environment for each loose part; its description is read from there.
    let mut loose: HashMap<PartId, PathBuf> = HashMap::new();
    let members: Vec<&Member> = members.into_iter().collect();
    for member in &members {
        for id in member
            .parts
            .iter()
            .filter(|id| ledger.parts().get(id).is_some_and(is_loose))
        {
            loose.entry(*id).or_insert_with(|| volume.root().join(&member.name));
        }
    }
    let part_id = |id: PartId, part: &Part| {
        if part.is_bytecode() {
            return None;
        }
        match loose.get(&id) {
            Some(environment) => loose_id(environment, part.mark),
            None => wheel_id(&volume.root().join(&part.name), scope(&part.name)),
        }
    };
    let label = |member: &Member| {
        let pins = usage::pins(volume, member);
        let names = pins.iter().map(|pin| pin.split([' ', '=']).next().unwrap_or(pin));
        label(names, pins.len())
    };
    contents(ledger, &members, rest, part_id, label)
}

fn system_contents<'a>(
    volume: &SystemVolume,
    ledger: &Ledger,
    members: impl IntoIterator<Item = &'a Member>,
    rest: DiskUsage,
) -> VolumeContents {
    let members: Vec<&Member> = members.into_iter().collect();
    let label = |member: &Member| {
        let entry = index_entries::read(&volume.root().join(&member.name));
        let packages = entry.map(|entry| entry.packages).unwrap_or_default();
        label(packages.iter().map(String::as_str), packages.len())
    };
    contents(ledger, &members, rest, |_, _| None, label)
}

/// Builds the list. `part_id` returns the id of a part whose path does not identify it.
fn contents(
    ledger: &Ledger,
    members: &[&Member],
    rest: DiskUsage,
    part_id: impl Fn(PartId, &Part) -> Option<String>,
    label: impl Fn(&Member) -> String,
) -> VolumeContents {
    let mut listed = VolumeContents {
        rest: weight(rest),
        ..VolumeContents::default()
    };
    let mut places: BTreeMap<PartId, u32> = BTreeMap::new();
    for member in members {
        let mut parts = Vec::with_capacity(member.parts.len());
        for id in &member.parts {
            // The next refresh measures parts that the ledger does not have yet.
            let Some(part) = ledger.parts().get(id) else { continue };
            parts.push(*places.entry(*id).or_insert_with(|| {
                let shown = part_id(*id, part).unwrap_or_else(|| format!("{id:016x}"));
                let (bytes, inodes) = weight(part.size);
                listed.parts.push(PartContents(shown, bytes, inodes));
                u32::try_from(listed.parts.len() - 1).unwrap_or(u32::MAX)
            }));
        }
        listed.environments.push(EnvironmentContents {
            name: environment_name(&member.name),
            label: label(member),
            used_us: member.used_us,
            own: weight(member.own),
            parts,
        });
    }
    listed
}

fn weight(size: DiskUsage) -> Weight {
    (size.bytes, size.inodes)
}

/// `…tenants/<tenant>/<folder>/<key>` with or without an extension, as a trace names it.
fn environment_name(path: &str) -> String {
    let path = Path::new(path);
    let key = path.file_stem().unwrap_or_default().to_string_lossy();
    let tenant = path.parent().and_then(Path::parent).and_then(Path::file_name);
    let tenant = tenant.and_then(|name| name.to_string_lossy().parse::<Tenant>().ok());
    name_of(&key, &tenant.unwrap_or_default())
}

fn label<'a>(names: impl Iterator<Item = &'a str>, count: usize) -> String {
    let mut label = names.take(MAX_LABEL_PACKAGES).collect::<Vec<_>>().join(", ");
    if count > MAX_LABEL_PACKAGES {
        label.push_str(&format!(" and {} more", count - MAX_LABEL_PACKAGES));
    }
    label.chars().take(MAX_LABEL_CHARS).collect()
}

fn is_loose(part: &Part) -> bool {
    part.name.starts_with(ledger::LOOSE)
}

/// The tenant that owns a part; empty for shared downloads.
fn scope(name: &str) -> &str {
    let own = name.strip_prefix("tenants/").and_then(|own| own.split('/').next());
    own.unwrap_or_default()
}

/// The id of an unpacked wheel; `None` if it has no description.
fn wheel_id(folder: &Path, scope: &str) -> Option<String> {
    let listed = entries(folder).ok()?;
    let described = listed
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "dist-info"));
    described_id(described.map(PathBuf::as_path), scope)
}

/// The id of a wheel that uv's cache has lost, read from an environment that links to it.
fn loose_id(environment: &Path, mark: u64) -> Option<String> {
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(environment.join(MANIFEST_FILE)).ok()?).ok()?;
    let site = environment.join(VENV).join(record::site(&manifest.interpreter));
    let distributions = ledger::distributions(&site);
    let folder = distributions.iter().find(|(_, found)| **found == mark)?.0;
    described_id([site.join(folder).as_path()].into_iter(), "")
}

fn described_id<'a>(folders: impl Iterator<Item = &'a Path>, scope: &str) -> Option<String> {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    add(scope.as_bytes());
    let mut is_described = false;
    for folder in folders {
        add(folder.file_name()?.as_encoded_bytes());
        for name in DESCRIPTION {
            let text = std::fs::read(folder.join(name)).ok();
            is_described |= text.is_some();
            add(&text.unwrap_or_default());
        }
    }
    let mut id = hasher.finalize().to_hex().to_string();
    id.truncate(16);
    is_described.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_named_by_its_key_and_a_tenant_other_than_the_default() {
        assert_eq!(environment_name("tenants/default/envs/31ab"), "31ab");
        assert_eq!(environment_name("tenants/team-a/envs/31ab"), "31ab@team-a");
        let entry = "var/hybrid-cache/tenants/default/index/77cd.json";
        assert_eq!(environment_name(entry), "77cd");
    }

    #[test]
    fn a_wheel_that_is_downloaded_again_has_the_same_id_and_another_version_has_not() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = |name: &str, version: &str| {
            let info = folder.path().join(name).join(format!("numpy-{version}.dist-info"));
            std::fs::create_dir_all(&info).unwrap();
            std::fs::write(info.join("METADATA"), format!("Name: numpy\nVersion: {version}\n")).unwrap();
            std::fs::write(info.join("WHEEL"), "Tag: cp311-cp311-manylinux\n").unwrap();
            wheel_id(&folder.path().join(name), "").unwrap()
        };
        let first = wheel("archive-v0/abc", "2.4.1");
        assert_eq!(first, wheel("archive-v0/xyz", "2.4.1"));
        assert_ne!(first, wheel("archive-v0/new", "2.4.2"));
        let private = wheel_id(
            &folder.path().join("archive-v0/abc"),
            scope("tenants/a/uv/archive-v0/abc"),
        );
        assert_ne!(Some(first), private);
        assert_eq!(wheel_id(folder.path(), ""), None);
    }

    #[test]
    fn a_label_names_the_first_packages() {
        let names = ["a", "b", "c", "d", "e", "f"];
        assert_eq!(label(names.into_iter(), 6), "a, b, c, d and 2 more");
        assert_eq!(label(["gcc"].into_iter(), 1), "gcc");
    }
}
