//! What is put into the image: pinned tools, the package set, the runner, and the record in which the image says so.

use std::path::Path;

use hybrid_cache_model::pod::{IMAGE_FILE, ImageRecord, ImageSystem, POD_PROTOCOL_VERSION};
use hybrid_cache_model::protocol::{Identity, Interpreter, PackageSource, Provider, SystemTools};
use hybrid_cache_tools::{
    self as tools, Checkout, Error, ErrorContext, NixProvider, Progress, Result, ToolChoice, Tools, failed, programs,
};
use serde::Deserialize;

use super::archive;
use super::context::{self, Context};
use super::pythons::Added;

const RUNNER: &str = "usr/local/bin/runner";
const UV: &str = "usr/local/bin/uv";
const NIX_PORTABLE: &str = "usr/local/bin/nix-portable";
/// Where Debian's package puts it.
const NIX: &str = "/usr/bin/nix";
/// In a folder of its own: nix looks through the one it is in.
const BUSYBOX: &str = "usr/lib/hybrid-cache/busybox";
const DEBNIX: &str = "usr/share/hybrid-cache/debnix";
/// Where assemble.sh links the basic tools.
const BASE_PATH: &str = "/hybrid-cache/bin";
/// The user that assemble.sh and the Dockerfile name.
pub const USER: Identity = Identity { uid: 10001, gid: 10001 };

/// The runner as a program that runs in any image.
///
/// # Errors
/// It does not build, or only with this machine's own C library.
pub fn runner(checkout: &Checkout, progress: &dyn Progress) -> Result<Vec<u8>> {
    context::read(&programs::static_alone(programs::build(checkout, progress)?)?)
}

/// Tools of the image.
pub struct Brought {
    /// Their files, as they lie below `/`.
    pub files: Context,
    /// How system packages are made with them.
    pub system: Option<ImageSystem>,
    /// The argument of assemble.sh: `debian`, `portable` or `none`.
    pub nix: &'static str,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Brings the tools into the checkout and from there into the image's tree.
///
/// # Errors
/// A tool that every image needs is not available.
pub fn bring(checkout: &Checkout, progress: &dyn Progress) -> Result<Brought> {
    let tools = tools::provision(checkout.root(), &ToolChoice::default(), progress)?;
    let mut files = Context::default();
    files.add_program(UV, program(&tools.uv.path)?);
    let system = match (&tools.nix, &tools.source) {
        (Some(nix), Some(source)) => {
            let provider = match nix.provider {
                // A nix of this machine may need its libraries: the image takes Debian's own.
                NixProvider::Nix => Provider::Nix {
                    program: NIX.to_owned(),
                },
                NixProvider::NixPortable => {
                    files.add_program(NIX_PORTABLE, context::read(&nix.program)?);
                    Provider::NixPortable {
                        program: absolute(NIX_PORTABLE),
                    }
                }
            };
            Some(system(provider, source, &tools, &mut files)?)
        }
        _ => None,
    };
    let nix = match system.as_ref().map(|system| &system.tools.provider) {
        Some(Provider::Nix { .. }) => "debian",
        Some(Provider::NixPortable { .. }) => "portable",
        None => "none",
    };
    let notes = match &system {
        Some(_) => Vec::new(),
        None => tools
            .lacking
            .iter()
            .map(|lacking| format!("the image has no Nix: {lacking}"))
            .collect(),
    };
    Ok(Brought {
        files,
        system,
        nix,
        notes,
    })
}

fn system(
    provider: Provider,
    source: &tools::PackageSource,
    tools: &Tools,
    files: &mut Context,
) -> Result<ImageSystem> {
    let (source, source_id) = match source {
        tools::PackageSource::Nixpkgs { revision, .. } => {
            let flake = ["github:NixOS/nixpkgs/", revision].concat();
            (PackageSource::Nixpkgs { flake }, ["nixpkgs:", revision].concat())
        }
        tools::PackageSource::Debnix { folder, digest } => {
            let busybox = tools
                .busybox
                .as_ref()
                .context("debnix was chosen without its busybox")?;
            files.add_program(BUSYBOX, program(&busybox.path)?);
            // What the digest is made of, and nothing else.
            files.add_folder(DEBNIX, folder, |name| {
                [".nix", ".sh", ".json"].iter().any(|end| name.ends_with(end))
            })?;
            let source = PackageSource::Debnix {
                folder: absolute(DEBNIX),
                mirrors: Vec::new(),
                busybox: absolute(BUSYBOX),
            };
            (source, ["debnix:", digest.get(..16).unwrap_or(digest)].concat())
        }
    };
    let variables = Vec::new();
    let tools = SystemTools {
        provider,
        source,
        variables,
    };
    Ok(ImageSystem { tools, source_id })
}

fn absolute(path: &str) -> String {
    ["/", path].concat()
}

/// A program's bytes; a script in its place would not find its interpreter in the image.
fn program(path: &Path) -> Result<Vec<u8>> {
    let bytes = context::read(path)?;
    if !bytes.starts_with(b"\x7fELF") {
        return Err(failed!(
            "{} is a script, not a program\nhint: take it off the search path, then the pinned one is brought",
            path.display()
        ));
    }
    Ok(bytes)
}

/// What assemble.sh left of itself in the root file system.
pub struct Root {
    /// The image's interpreter.
    pub interpreter: Interpreter,
    /// Further ones, the oldest first.
    pub others: Vec<Interpreter>,
    /// Its packages with their versions.
    pub packages: Vec<u8>,
}

#[derive(Deserialize)]
struct Probed {
    path: String,
    implementation: String,
    version: String,
    abi: String,
    platform: String,
    #[serde(default)]
    libc: String,
}

impl Root {
    /// Reads it from archives of `/etc/hybrid-cache` and of the interpreter's file, with what was added to it.
    ///
    /// # Errors
    /// Something is missing, or a further interpreter is not what was added.
    pub fn read(record: &[u8], interpreter: &[u8], added: &[Added]) -> Result<Root> {
        let mut files = archive::files(record)?;
        let mut take = |name: &str| {
            let at = files.iter().position(|(path, _)| path.ends_with(name));
            let at = at.with_context(|| format!("the root file system has no {name}"))?;
            Ok::<_, Error>(files.swap_remove(at).1)
        };
        let (probed, packages) = (take("interpreter.json")?, take("packages")?);
        let binary = archive::files(interpreter)?;
        let (_, binary) = binary.first().context("the root file system has no interpreter")?;
        let hash = blake3::hash(binary).to_hex().to_string();
        let interpreter = Probed::read(&probed)?.interpreter(hash, String::new());
        let mut others = Vec::new();
        for one in added {
            let probed = Probed::read(&take(&["python-", &one.version, ".json"].concat())?)?;
            if (&probed.version, &probed.path) != (&one.version, &one.program) {
                return Err(failed!(
                    "the image's Python {} calls itself {} in {}",
                    one.version,
                    probed.version,
                    probed.path
                ));
            }
            others.push(probed.interpreter(one.binary_hash.clone(), one.start.clone()));
        }
        Ok(Root {
            interpreter,
            others,
            packages,
        })
    }
}

impl Probed {
    fn read(text: &[u8]) -> Result<Probed> {
        serde_json::from_slice(text).context("reading what an interpreter of the image says of itself")
    }

    fn interpreter(self, binary_hash: String, start: String) -> Interpreter {
        Interpreter {
            path: self.path,
            implementation: self.implementation,
            version: self.version,
            abi: self.abi,
            platform: self.platform,
            libc: self.libc,
            binary_hash,
            start,
        }
    }
}

/// The runner and the record, as they lie below `/`.
///
/// # Errors
/// Never, as the record is plain data.
pub fn own(
    runner: Vec<u8>,
    interpreter: Interpreter,
    other_interpreters: Vec<Interpreter>,
    system: Option<ImageSystem>,
) -> Result<Context> {
    let record = ImageRecord {
        protocol: POD_PROTOCOL_VERSION,
        interpreter,
        other_interpreters,
        uv: absolute(UV),
        system,
        base_path: BASE_PATH.to_owned(),
        identity: USER,
    };
    let mut files = Context::default();
    files.add_program(RUNNER, runner);
    files.add(IMAGE_FILE.trim_start_matches('/'), serde_json::to_vec_pretty(&record)?);
    Ok(files)
}
