//! The step of `up` that provides the image for tasks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_image::docker::Engine;
use hybrid_cache_image::task_image as image;
use hybrid_cache_tools::{Checkout, ErrorContext, OperatorSettings, Progress, Result, Steps};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::plan::{Decision, Planned};

/// Longest time for a pull of the image.
const PULL_TIMEOUT: Duration = Duration::from_secs(900);

/// Starts a thread that looks for our image and builds it if an input has changed; most of that time is waiting for other
/// programs. Returns `None` if the user names another image.
///
/// # Errors
/// The settings file cannot be read.
pub fn start(
    checkout: &Checkout,
    settings: Option<&Path>,
    progress: &Arc<dyn Progress>,
) -> Result<Option<JoinHandle<Result<image::Built>>>> {
    if image::overridden().is_some() {
        return Ok(None);
    }
    let options = image::BuildOptions {
        python_versions: OperatorSettings::read(settings)?.python_versions,
        ..image::BuildOptions::default()
    };
    let (checkout, progress, runtime) = (checkout.clone(), Arc::clone(progress), Handle::current());
    Ok(Some(tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            let engine = Engine::connect().await?;
            image::ensure(&checkout, &engine, &options, progress.as_ref()).await
        })
    })))
}

/// Provides the image in the engine: builds ours, or pulls the one that the user names if it is missing.
///
/// # Errors
/// Our image does not build, or the named image cannot be pulled.
pub async fn finish(
    ours: Option<JoinHandle<Result<image::Built>>>,
    engine: &Engine,
    steps: &Steps<'_>,
) -> Result<String> {
    let named = match ours {
        Some(built) => {
            let built = built.await.context("building the image")??;
            steps.skip("image", &built.reference);
            return Ok(built.reference);
        }
        None => image::overridden().with_context(|| format!("{} is no longer set", image::OVERRIDE))?,
    };
    if engine.image(&named).await?.is_some() {
        let what = format!("{named}, which {} names, is in the Docker engine", image::OVERRIDE);
        steps.skip("image", &what);
    } else {
        steps.begin("image", &format!("pulling {named}, which {} names", image::OVERRIDE));
        engine
            .pull(&named, PULL_TIMEOUT, &mut |line| steps.detail(line))
            .await?;
        steps.end(&named);
    }
    Ok(named)
}

/// What has to be done about the image.
///
/// # Errors
/// The engine does not answer.
pub async fn plan(checkout: &Checkout, engine: &Engine) -> Result<Planned> {
    let Some(reference) = image::reference(checkout) else {
        return Ok(Planned::new("image", Decision::Create, "no image has been built yet"));
    };
    Ok(match engine.image(&reference).await? {
        Some(_) => {
            let what = format!("{reference} is in the Docker engine; it is built again if its inputs have changed");
            Planned::new("image", Decision::Nothing, what)
        }
        None => Planned::new(
            "image",
            Decision::Create,
            format!("{reference} is not in the Docker engine"),
        ),
    })
}
