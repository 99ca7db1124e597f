//! The build itself: base, root file system, tools, image, normal form; or nothing, where nothing changed.

use std::path::Path;

use hybrid_cache_tools::{Checkout, ErrorContext, Progress, Result, failed};

use super::base::{Base, BaseContext};
use super::build_records::{self, Built, ImageBuildDir};
use super::context::{self, Context};
use super::pythons::Pythons;
use super::recipe::{FOLDER, REPOSITORY};
use super::{archive, contents, pythons};
use crate::docker::{Build, BuildCache, Engine};

/// Name of the root file system's image: named, so that cleaning up does not take the longest step's result.
const ROOT: &str = "hybrid-cache-image-root:latest";
/// Name of the image before it is brought into normal form.
pub const RAW: &str = "hybrid-cache-image-raw:latest";

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// What to build on.
    pub base: Base,
    /// When to build.
    pub rebuild: Rebuild,
    /// Python versions that it brings beside its own, such as `3.12`.
    pub python_versions: Vec<String>,
}

/// When an image is built that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rebuild {
    /// When it would be made of something else.
    #[default]
    WhenChanged,
    /// Always, with nothing from earlier builds: how Debian's updates get in.
    Always,
}

/// The image in the engine, built if it does not exist yet. Does not look at [`super::OVERRIDE`].
///
/// # Errors
/// A tool or the base is not available, the build fails, or the engine goes away.
pub async fn ensure(
    checkout: &Checkout,
    engine: &Engine,
    options: &BuildOptions,
    progress: &dyn Progress,
) -> Result<Built> {
    let runner = contents::runner(checkout, progress)?;
    let recipe = recipe(checkout)?;
    let pythons = pythons::bring(&options.python_versions, hybrid_cache_tools::installed_pythons)?;
    let recipe = Recipe { files: recipe, pythons };
    let inputs = inputs(checkout, &recipe, &runner, options)?;
    let is_forced = options.rebuild == Rebuild::Always;
    if !is_forced && let Some(built) = present(engine, build_records::recall(checkout, &inputs)).await? {
        build_records::keep(checkout, &inputs, &built)?;
        return Ok(built);
    }
    let dir = ImageBuildDir::open(checkout, || progress.step("waiting for another build of this checkout"))?;
    // The process that held the lock may have built exactly this.
    if !is_forced && let Some(built) = present(engine, build_records::recall(checkout, &inputs)).await? {
        return Ok(built);
    }
    let maker = Maker {
        engine,
        progress,
        dir: &dir,
        is_forced,
    };
    let built = maker.make(checkout, &options.base, recipe, runner).await?;
    for note in &built.notes {
        progress.line(&["note: ", note].concat());
    }
    build_records::keep(checkout, &inputs, &built)?;
    Ok(built)
}

/// Brings the image `raw` into normal form under another name, and removes it, with `work` to do it in. Returns its id.
///
/// # Errors
/// The engine goes away, or a disk is full.
pub async fn load_normal(
    engine: &Engine,
    progress: &dyn Progress,
    work: &Path,
    raw: &str,
    reference: &str,
) -> Result<(String, archive::Sizes)> {
    progress.step("bringing it into normal form");
    let [saved, normal] = ["raw.tar", "image.tar"].map(|name| work.join(name));
    engine.save(raw, &saved).await?;
    let sizes = archive::normalise(&saved, &normal, work, reference)?;
    progress.step("loading it into the engine");
    engine.load(&normal, &mut |line| progress.detail(line)).await?;
    engine.remove_image(raw).await?;
    let image = engine.image(reference).await?;
    let image = image.with_context(|| format!("{reference} was loaded, but the engine does not have it"))?;
    Ok((image.id, sizes))
}

/// A recorded image counts only if the engine still has exactly that image under its name.
///
/// # Errors
/// The engine does not answer.
pub async fn present(engine: &Engine, built: Option<Built>) -> Result<Option<Built>> {
    let Some(built) = built else { return Ok(None) };
    let found = engine.image(&built.reference).await?;
    Ok(found.is_some_and(|image| image.id == built.id).then_some(built))
}

/// What the root file system is made of, as the engine sees it.
struct Recipe {
    /// The folder with the Dockerfile.
    files: Context,
    /// Further interpreters.
    pythons: Pythons,
}

impl Recipe {
    /// All files.
    fn tree(&self) -> Context {
        let mut tree = self.files.clone();
        tree.merge(self.pythons.files.clone().below("pythons"));
        tree
    }
}

/// The folder with the Dockerfile, as the engine sees it.
fn recipe(checkout: &Checkout) -> Result<Context> {
    let folder = checkout.path(FOLDER);
    let mut recipe = Context::default();
    recipe.add_folder("build", &folder, |name| name != "Dockerfile" && name != "README.md")?;
    recipe.add("Dockerfile", context::read(&folder.join("Dockerfile"))?);
    Ok(recipe)
}

/// A hash of everything in this checkout that goes in, quick to make. What this code does with it goes in as well.
fn inputs(checkout: &Checkout, recipe: &Recipe, runner: &[u8], options: &BuildOptions) -> Result<blake3::Hash> {
    let mut all = recipe.tree();
    all.add("runner", runner);
    all.add("base", options.base.name());
    all.add("pins", context::read(&checkout.path("images/tools.toml"))?);
    all.add_folder("debnix", &checkout.path("images/debnix"), |_| true)?;
    let code = [
        include_str!("archive.rs"),
        include_str!("base.rs"),
        include_str!("build.rs"),
        include_str!("contents.rs"),
        include_str!("context.rs"),
        include_str!("pythons.rs"),
        include_str!("reproducible.rs"),
    ];
    all.add("code", code.concat());
    Ok(all.hash())
}

struct Maker<'a> {
    engine: &'a Engine,
    progress: &'a dyn Progress,
    dir: &'a ImageBuildDir,
    is_forced: bool,
}

impl Maker<'_> {
    async fn make(&self, checkout: &Checkout, base: &Base, recipe: Recipe, runner: Vec<u8>) -> Result<Built> {
        self.progress.step("looking for tools");
        let brought = contents::bring(checkout, self.progress)?;
        let site = BaseContext {
            engine: self.engine,
            checkout,
            work: &self.dir.folder,
            is_forced: self.is_forced,
            progress: self.progress,
        };
        let base = site.provide(base).await?;
        let arguments = [("BASE_IMAGE", base.reference.as_str()), ("NIX", brought.nix)];
        let root = self.root(&recipe, &arguments).await?;

        let system_source = brought.system.as_ref().map(|system| system.source_id.clone());
        let mut tree = recipe.tree();
        for (place, files) in [
            ("tools", brought.files),
            (
                "own",
                contents::own(runner, root.interpreter, root.others, brought.system)?,
            ),
        ] {
            tree.merge(files.below(place));
        }
        // Debian's packages are not pinned: their versions distinguish what the same recipe made at different times.
        let mut content = tree.clone();
        content.add("packages", root.packages);
        content.add("arguments", brought.nix);
        // What normal form is decides over the id as well.
        content.add(
            "form",
            [include_str!("archive.rs"), include_str!("reproducible.rs")].concat(),
        );
        let reference = [REPOSITORY, ":", &content.hash().to_hex()[..16]].concat();
        let known = build_records::of_reference(checkout, &reference).filter(|_| !self.is_forced);
        let (id, sizes) = match present(self.engine, known).await? {
            Some(built) => (built.id, built.sizes),
            None => self.image(&tree, &arguments, &reference).await?,
        };
        self.engine.tag(&reference, &[REPOSITORY, ":latest"].concat()).await?;
        Ok(Built {
            reference,
            id,
            sizes,
            base: base.reference,
            nix: brought.nix.to_owned(),
            system_source,
            notes: brought.notes.into_iter().chain(base.note).collect(),
            pushed: None,
        })
    }

    /// The root file system, which is asked about its interpreters before the image is made that says so.
    async fn root(&self, recipe: &Recipe, arguments: &[(&str, &str)]) -> Result<contents::Root> {
        self.progress.step("putting the root file system together");
        let before = self.engine.image(ROOT).await?;
        let cache = if self.is_forced {
            BuildCache::Bypass
        } else {
            BuildCache::Use
        };
        let build = Build {
            reference: ROOT,
            target: Some("pythons"),
            arguments,
            cache,
        };
        let id = self.build(&build, &recipe.tree()).await?;
        if let Some(before) = before.filter(|before| before.id != id) {
            // A leftover container may still use it; then it stays, and `docker image prune` finds it.
            let _ = self.engine.remove_image(&before.id).await;
        }
        let record = self.engine.copy_out(ROOT, "/image/etc/hybrid-cache").await?;
        let interpreter = self.engine.copy_out(ROOT, "/image/usr/bin/python3.11").await?;
        contents::Root::read(&record, &interpreter, &recipe.pythons.added)
    }

    async fn image(
        &self,
        tree: &Context,
        arguments: &[(&str, &str)],
        reference: &str,
    ) -> Result<(String, archive::Sizes)> {
        self.progress.step("building the image");
        // The root was made a moment ago, so a forced build has rebuilt it already.
        let build = Build {
            reference: RAW,
            target: None,
            arguments,
            cache: BuildCache::Use,
        };
        self.build(&build, tree).await?;
        load_normal(self.engine, self.progress, &self.dir.folder, RAW, reference).await
    }

    async fn build(&self, build: &Build<'_>, tree: &Context) -> Result<String> {
        let id = self
            .engine
            .build(build, tree.archive()?, &mut |line| self.progress.detail(line))
            .await?;
        if !id.starts_with("sha256:") {
            return Err(failed!(
                "the engine calls {} `{id}`, which is not an id",
                build.reference
            ));
        }
        Ok(id)
    }
}
