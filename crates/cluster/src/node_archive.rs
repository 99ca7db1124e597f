//! The archive of a node image, as `docker save` writes it: reads which image it holds.

use std::fs::File;
use std::path::Path;

use hybrid_cache_tools::{Error, ErrorContext, Result};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    repo_tags: Option<Vec<String>>,
}

/// The first reference in an archive.
///
/// # Errors
/// The file is not such an archive, or its image has no name.
pub fn reference(archive: &Path) -> Result<String> {
    let name = archive.display();
    let wrong = |what: &str| {
        Error::input(format!(
            "{name} {what}\nhint: write an archive with `docker save --output FILE REF`"
        ))
    };
    let file = File::open(archive).with_context(|| format!("opening {name}"))?;
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries().map_err(|_| wrong("is not a tar archive"))?;
    for entry in entries {
        let entry = entry.map_err(|_| wrong("is not a tar archive"))?;
        if entry.path().is_ok_and(|path| path == Path::new("manifest.json")) {
            let images: Vec<Image> =
                serde_json::from_reader(entry).map_err(|_| wrong("has a manifest.json that describes no image"))?;
            let mut tags = images.into_iter().flat_map(|image| image.repo_tags.unwrap_or_default());
            return tags.next().ok_or_else(|| wrong("has an image without a name"));
        }
    }
    Err(wrong("has no manifest.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(name: &str, text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.reopen().unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
        builder.finish().unwrap();
        file
    }

    #[test]
    fn the_image_is_named_in_the_manifest() {
        let good = archive("manifest.json", r#"[{"Config":"x","RepoTags":["node:1"],"Layers":[]}]"#);
        assert_eq!(reference(good.path()).unwrap(), "node:1");
        for bad in [archive("manifest.json", r#"[{"RepoTags":null}]"#), archive("other", "")] {
            let error = reference(bad.path()).unwrap_err();
            assert_eq!(error.class(), hybrid_cache_tools::ErrorClass::Input);
        }
    }
}
