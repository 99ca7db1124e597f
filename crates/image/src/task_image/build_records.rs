//! What was built from which inputs: asking the network for tools and bases takes longer than a build may take that has
//! nothing to do.
//!
//! ```text
//! target/image/
//!   .lock             held while an image is built
//!   built/<inputs>.json   Built, for each hash of what was seen to go in
//!   last.json         the one that was built or asked for last
//!   service           the reference of the service's image that was built last
//!   work/             a build in progress; leftovers of a killed build are deleted
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_tools::{Checkout, ErrorContext, Result, failed};
use serde::{Deserialize, Serialize};

use super::archive::Sizes;

/// How long another build may take: everything from scratch, over a slow line.
const LOCK_WAIT: Duration = Duration::from_secs(1800);

/// An image that was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Built {
    /// `nix-portable-base:<hash of its content's inputs>`.
    pub reference: String,
    /// The engine's id of it, `sha256:…`.
    pub id: String,
    /// How large it is.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// What it was built on.
    pub base: String,
    /// `debian`, `portable` or `none`: how its Nix came.
    pub nix: String,
    /// Identity of its package source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_source: Option<String>,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The reference by digest under which a registry has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed: Option<String>,
}

fn folder(checkout: &Checkout) -> PathBuf {
    checkout.path("target/image")
}

fn file(checkout: &Checkout, inputs: &blake3::Hash) -> PathBuf {
    let name = [&inputs.to_hex()[..32], ".json"].concat();
    folder(checkout).join("built").join(name)
}

/// What was built from these inputs.
pub fn recall(checkout: &Checkout, inputs: &blake3::Hash) -> Option<Built> {
    read(&file(checkout, inputs))
}

/// What was built under this reference, from whatever was seen to go in: another base may have led to the same files.
pub fn of_reference(checkout: &Checkout, reference: &str) -> Option<Built> {
    let entries = fs::read_dir(folder(checkout).join("built")).ok()?;
    let mut built = entries.flatten().filter_map(|entry| read(&entry.path()));
    built.find(|built| built.reference == reference)
}

/// What was built or asked for last.
pub fn last(checkout: &Checkout) -> Option<Built> {
    read(&folder(checkout).join("last.json"))
}

/// The service's image that was built last.
pub fn last_service(checkout: &Checkout) -> Option<String> {
    fs::read_to_string(folder(checkout).join("service")).ok()
}

/// Remembers the service's image.
///
/// # Errors
/// The target folder cannot be written.
pub fn keep_service(checkout: &Checkout, reference: &str) -> Result<()> {
    let file = folder(checkout).join("service");
    write(&file, reference.as_bytes()).with_context(|| format!("writing {}", file.display()))
}

fn read(file: &Path) -> Option<Built> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// Remembers what was built from these inputs, also as the last one.
///
/// # Errors
/// The target folder cannot be written.
pub fn keep(checkout: &Checkout, inputs: &blake3::Hash, built: &Built) -> Result<()> {
    let text = serde_json::to_vec_pretty(built)?;
    for file in [file(checkout, inputs), folder(checkout).join("last.json")] {
        if fs::read(&file).is_ok_and(|kept| kept == text) {
            continue;
        }
        write(&file, &text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// Whole or not at all.
fn write(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let parent = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let staged = tempfile::NamedTempFile::new_in(parent)?;
    fs::write(staged.path(), text)?;
    staged.persist(file)?;
    Ok(())
}

/// The right to build, and an empty folder to do it in.
pub struct ImageBuildDir {
    /// The folder. A build that is killed leaves it, the next one empties it.
    pub folder: PathBuf,
    _lock: File,
}

impl ImageBuildDir {
    /// Waits for other builds of this checkout.
    ///
    /// # Errors
    /// The target folder cannot be written, or another build does not end.
    pub fn open(checkout: &Checkout, waiting: impl FnOnce()) -> Result<ImageBuildDir> {
        let root = folder(checkout);
        fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
        let path = root.join(".lock");
        let lock = File::options().create(true).append(true).open(&path);
        let lock = lock.with_context(|| format!("opening {}", path.display()))?;
        let started = Instant::now();
        let mut waiting = Some(waiting);
        while let Err(error) = lock.try_lock() {
            if let fs::TryLockError::Error(error) = error {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            if started.elapsed() > LOCK_WAIT {
                return Err(failed!(
                    "{} is held by another build\nhint: end that `cargo xtask`, then try again",
                    path.display()
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let work = root.join("work");
        match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("emptying {}", work.display()));
            }
            _ => {}
        }
        fs::create_dir(&work).with_context(|| format!("making {}", work.display()))?;
        Ok(ImageBuildDir {
            folder: work,
            _lock: lock,
        })
    }
}

impl Drop for ImageBuildDir {
    fn drop(&mut self) {
        // What stays is emptied by the next build.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
