//! Rewrites pages of an index: every link leads to the mirror, and only what is believed of it is left.

use serde_json::Value;
use url::Url;

use crate::html::{self, Attributes};
use crate::link::{self, Link};

/// Largest page, in bytes.
pub const MAX_BYTES: u64 = 64 << 20;
/// Most links of a page.
const MAX_LINKS: usize = 200_000;
/// The media type of PEP 691.
const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// A page of the mirror.
#[derive(Debug)]
pub struct Page {
    /// Its text.
    pub text: Vec<u8>,
    /// Its media type.
    pub media_type: String,
    /// The files that it leads to.
    pub links: Vec<Link>,
    /// Links that are left out.
    pub left_out: usize,
}

impl Page {
    /// Reads an upstream's answer; `way_up` leads from the page to the root of the mirror.
    ///
    /// # Errors
    /// It is not a page of an index.
    pub fn read(body: &[u8], media_type: &str, at: &Url, way_up: &str) -> Result<Page, String> {
        let kind = media_type.split(';').next().unwrap_or_default().trim();
        match kind {
            JSON | "application/json" => json(body, at, way_up),
            "text/html" | "application/vnd.pypi.simple.v1+html" => Ok(from_html(body, kind, at, way_up)),
            other => Err(format!("{other:?} is not the type of an index page")),
        }
    }
}

fn json(body: &[u8], at: &Url, way_up: &str) -> Result<Page, String> {
    let mut page: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    // An index without this list is a page of names.
    let files = page.get_mut("files").and_then(Value::as_array_mut);
    let (mut links, mut left_out) = (Vec::new(), 0);
    if let Some(files) = files {
        files.retain_mut(|file| match of_json(file, at) {
            Some(link) if links.len() < MAX_LINKS => {
                file["url"] = link.relative(way_up).into();
                file["filename"] = link.name.clone().into();
                links.push(link);
                true
            }
            _ => {
                left_out += 1;
                false
            }
        });
    }
    Ok(Page {
        text: serde_json::to_vec(&page).map_err(|error| error.to_string())?,
        media_type: JSON.to_owned(),
        links,
        left_out,
    })
}

fn of_json(file: &Value, at: &Url) -> Option<Link> {
    let mut link = Link::read(at, file.get("url")?.as_str()?)?;
    let digest = |value: Option<&Value>| link::sha256(value?.get("sha256")?.as_str()?);
    link.sha256 = digest(file.get("hashes")).or(link.sha256);
    let metadata = ["core-metadata", "dist-info-metadata", "data-dist-info-metadata"];
    link.metadata_sha256 = metadata.iter().find_map(|name| digest(file.get(*name)));
    Some(link)
}

fn from_html(body: &[u8], media_type: &str, at: &Url, way_up: &str) -> Page {
    let page = String::from_utf8_lossy(body);
    let elements = html::elements(&page, MAX_LINKS);
    let named = |name: &'static str| elements.iter().filter(move |element| element.0 == name);
    let base = named("base").find_map(|(_, attributes)| at.join(attributes.get("href")?).ok());
    let base = base.unwrap_or_else(|| at.clone());
    let (mut links, mut left_out) = (Vec::new(), 0);
    let mut text =
        "<!DOCTYPE html>\n<html><head><meta name=\"pypi:repository-version\" content=\"1.0\"></head><body>\n"
            .to_owned();
    for (_, attributes) in named("a") {
        // Where a page may lead is decided by its own address, whatever it says about that.
        let address = attributes
            .get("href")
            .filter(|address| !address.contains(char::is_control));
        let address = address.and_then(|address| base.join(address.trim()).ok());
        match address.and_then(|address| Link::read(at, address.as_str())) {
            Some(link) => {
                let link = with_metadata(link, attributes);
                text.push_str(&anchor(&link, attributes, way_up));
                links.push(link);
            }
            None => left_out += 1,
        }
    }
    text.push_str("</body></html>\n");
    Page {
        text: text.into_bytes(),
        media_type: media_type.to_owned(),
        links,
        left_out,
    }
}

const METADATA: [&str; 2] = ["data-core-metadata", "data-dist-info-metadata"];

fn with_metadata(mut link: Link, attributes: &Attributes) -> Link {
    let said = METADATA.iter().find_map(|name| attributes.get(*name));
    let digest = said.and_then(|value| value.strip_prefix("sha256="));
    link.metadata_sha256 = digest.and_then(link::sha256);
    link
}

fn anchor(link: &Link, attributes: &Attributes, way_up: &str) -> String {
    let digest = link.sha256.as_deref().map(|digest| format!("#sha256={digest}"));
    let address = link.relative(way_up) + &digest.unwrap_or_default();
    let kept = ["data-requires-python", "data-yanked", METADATA[0], METADATA[1]];
    let kept = kept.iter().filter_map(|name| Some((name, attributes.get(*name)?)));
    let kept: String = kept
        .map(|(name, value)| format!(" {name}=\"{}\"", html::escaped(value)))
        .collect();
    format!(
        "<a href=\"{}\"{kept}>{}</a><br>\n",
        html::escaped(&address),
        html::escaped(&link.name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Url {
        Url::parse("https://index.example/simple/x/").unwrap()
    }

    #[test]
    fn an_html_page_leads_to_the_mirror_alone() {
        let body = format!(
            "<base href='https://files.example/p/'><a href='x-1.whl#sha256={}' data-requires-python='&gt;=3'>x</a>\
             <a href='//evil.example/x\n-2.whl'>y</a><a href='https://u:p@files.example/x-3.whl'>z</a><a>w</a>",
            "1".repeat(64)
        );
        let page = Page::read(body.as_bytes(), "text/html; charset=utf-8", &at(), "../../").unwrap();
        let text = String::from_utf8(page.text).unwrap();
        assert_eq!((page.links.len(), page.left_out), (1, 3), "{text}");
        assert_eq!(page.links[0].url, "https://files.example/p/x-1.whl");
        assert!(text.contains("data-requires-python=\"&gt;=3\">x-1.whl</a>"), "{text}");
        assert!(text.contains("#sha256=111") && !text.contains("example"), "{text}");
    }

    #[test]
    fn a_json_page_leads_to_the_mirror_alone() {
        let digest = "2".repeat(64);
        let body = serde_json::json!({"meta": {"api-version": "1.1"}, "name": "x", "files": [
            {"url": "https://files.example/x-1.whl", "filename": "x-1.whl", "hashes": {"sha256": digest},
             "core-metadata": {"sha256": digest}, "size": 5},
            {"url": "https://files.example/x-2.whl?token=1", "filename": "x-2.whl", "hashes": {}},
            {"filename": "x-3.whl"}, 7,
        ]});
        let page = Page::read(body.to_string().as_bytes(), JSON, &at(), "../../").unwrap();
        assert_eq!((page.links.len(), page.left_out), (1, 3));
        assert_eq!(page.links[0].metadata_sha256, page.links[0].sha256);
        let text: Value = serde_json::from_slice(&page.text).unwrap();
        assert!(text["files"][0]["url"].as_str().unwrap().starts_with("../../files/"));
        assert_eq!(text["files"][0]["size"], 5);
        for wrong in ["text/plain", "", "application/octet-stream"] {
            assert!(Page::read(b"x", wrong, &at(), "").is_err(), "{wrong}");
        }
        assert!(Page::read(b"{", JSON, &at(), "").is_err());
    }
}
