//! Wheels that stand in for a trace's parts: no content, but the same inodes and blocks.

use std::fs;
use std::path::{Path, PathBuf};

use hybrid_cache_sizing::Weight;

use crate::error::TrialError;
use crate::wheel::Wheel;

/// Block of the file system, in bytes.
const BLOCK: u64 = 4096;
/// Files in a folder: their names fit one block.
const IN_FOLDER: u64 = 100;
/// Inodes beside data files: three folders, four files, and bytecode with its folder and its list of content.
const FIXED: u64 = 10;

/// Name of a part's package.
pub fn name(part: u32) -> String {
    format!("standin{part}")
}

/// What a task asks for that wants these parts.
pub fn requirements(parts: &[u32]) -> String {
    let lines: Vec<String> = parts.iter().map(|part| format!("{}==1.0", name(*part))).collect();
    lines.join("\n")
}

/// Variables that tell uv of a folder of stand-ins.
pub fn variables(wheels: &Path) -> Vec<(String, String)> {
    // An index that has nothing: what is not in the folder is not there.
    let index = (
        "UV_DEFAULT_INDEX",
        format!("file://{}", wheels.join("nothing").display()),
    );
    let links = ("UV_FIND_LINKS", wheels.display().to_string());
    [index, links].map(|(name, value)| (name.to_owned(), value)).into()
}

/// Data files of a part, and what they have in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    files: u64,
    folders: u64,
    blocks: u64,
}

impl Shape {
    fn for_weight(target: Weight, record_blocks: u64) -> Shape {
        let rest = target.inodes.saturating_sub(FIXED);
        let folders = rest.div_ceil(IN_FOLDER + 1);
        let taken = FIXED + folders + record_blocks - 1;
        Shape {
            files: rest - folders,
            folders,
            blocks: (target.bytes / BLOCK).saturating_sub(taken),
        }
    }

    /// Blocks of one of the files: all have as many, and the first ones what is over.
    fn blocks_of(self, file: u64) -> u64 {
        self.blocks / self.files + u64::from(file < self.blocks % self.files)
    }
}

/// The wheel that takes, unpacked and with its bytecode, what the target says, or a little more if that is not enough
/// for a wheel.
pub fn wheel(part: u32, target: Weight) -> Wheel {
    let rough = built(part, Shape::for_weight(target, 1));
    let record_blocks = (rough.record().len() as u64).div_ceil(BLOCK);
    if record_blocks == 1 {
        return rough;
    }
    built(part, Shape::for_weight(target, record_blocks))
}

fn built(part: u32, shape: Shape) -> Wheel {
    let name = name(part);
    // Each module is another one, or the pool of bytecode would hold it once for all.
    let module = format!("PART = {part}\n");
    let wheel = Wheel::new(&name, "1.0").file(&format!("{name}/__init__.py"), module);
    (0..shape.files).fold(wheel, |wheel, file| {
        let path = format!("{name}/d{}/f{file}", file % shape.folders);
        let length = usize::try_from(shape.blocks_of(file) * BLOCK).unwrap_or(0);
        wheel.file(&path, vec![b'x'; length])
    })
}

/// Writes the wheels of all parts into a folder for uv; returns it.
///
/// # Errors
/// A wheel cannot be written.
pub fn write(folder: &Path, parts: &[Weight]) -> Result<PathBuf, TrialError> {
    let folder = folder.join("wheels");
    fs::create_dir_all(folder.join("nothing")).map_err(TrialError::io(format!("making {}", folder.display())))?;
    for (part, target) in parts.iter().enumerate() {
        let wheel = wheel(u32::try_from(part).unwrap_or(u32::MAX), *target);
        let file = folder.join(wheel.file_name());
        fs::write(&file, wheel.build()?).map_err(TrialError::io(format!("writing {}", file.display())))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What an unpacked wheel and its bytecode take, from its list of files.
    fn taken(wheel: &Wheel) -> Weight {
        let record = wheel.record();
        let mut folders = BTreeSet::from([String::new()]);
        let mut found = Weight::new(3 * BLOCK, 3);
        for line in record.lines() {
            let fields: Vec<&str> = line.split(',').collect();
            let length = fields[2].parse().unwrap_or(record.len() as u64);
            found += Weight::new(length.div_ceil(BLOCK) * BLOCK, 1);
            let mut path = Path::new(fields[0]);
            while let Some(parent) = path.parent() {
                folders.insert(parent.display().to_string());
                path = parent;
            }
        }
        found += Weight::new(folders.len() as u64 * BLOCK, folders.len() as u64);
        found
    }

    #[test]
    fn a_stand_in_takes_exactly_what_its_part_takes() {
        for (blocks, inodes) in [(13, 10), (40, 12), (500, 60), (900, 250), (120, 400), (3000, 1213)] {
            let target = Weight::new(blocks * BLOCK, inodes);
            // A folder needs a file in it.
            let inodes = if inodes == 11 { 12 } else { inodes };
            let found = taken(&wheel(3, target));
            assert_eq!(found.inodes, inodes, "{target:?}");
            let least = (FIXED + (inodes - FIXED).div_ceil(IN_FOLDER + 1)) * BLOCK;
            if target.bytes > least + 64 * BLOCK {
                assert_eq!(found.bytes, target.bytes, "{target:?}");
            }
        }
    }
}
