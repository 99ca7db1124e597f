//! Answers one request.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response};
use tokio::sync::Semaphore;

use crate::client::Client;
use crate::counts::Counts;
use crate::page::{self, Page};
use crate::path::{self, Asked};
use crate::range::Variant;
use crate::recording::{Entry, Recording};
use crate::reply::{self, Body, Sending};
use crate::transfer::{Transfers, Wanted, passed_on};
use crate::upstream::{Upstream, UpstreamKind};

/// Most pages that are fetched at once, or wait for that.
const PAGES_AT_ONCE: usize = 16;

/// What a recorder needs to ask upstreams.
pub struct Recorder {
    pub client: Arc<Client>,
    pub upstreams: Vec<Upstream>,
    pub transfers: Transfers,
    /// Digests of files by their path below an upstream of files.
    pub digests: BTreeMap<String, String>,
    pages: Semaphore,
}

/// What all requests share.
pub struct Site {
    pub secret: String,
    pub recording: Arc<Recording>,
    pub counts: Arc<Counts>,
    /// Identities of the upstreams' addresses by label. A replay without an address serves what any address has answered.
    pub identities: BTreeMap<String, String>,
    pub sending: Sending,
    /// How long an answer is on its way, and a new connection once more.
    pub round_trip: Duration,
    /// `None` replays.
    pub recorder: Option<Recorder>,
}

impl Recorder {
    pub fn new(
        client: Arc<Client>,
        upstreams: Vec<Upstream>,
        transfers: Transfers,
        digests: BTreeMap<String, String>,
    ) -> Recorder {
        Recorder {
            client,
            upstreams,
            transfers,
            digests,
            pages: Semaphore::new(PAGES_AT_ONCE),
        }
    }
}

impl Site {
    /// Answers a request of a connection, which is new if no request came on it before.
    pub async fn answer(self: Arc<Site>, is_new: &AtomicBool, request: Request<Incoming>) -> Response<Body> {
        let trips = if is_new.swap(false, Ordering::Relaxed) { 2 } else { 1 };
        if !self.round_trip.is_zero() {
            tokio::time::sleep(self.round_trip * trips).await;
        }
        let Some(path) = self.behind_the_secret(request.uri().path()) else {
            return reply::status(404);
        };
        self.counts.request();
        let (method, headers) = (request.method(), request.headers());
        if !matches!(*method, Method::GET | Method::HEAD) {
            return reply::status(405);
        }
        let asked = Asked::read(path).filter(|_| request.uri().query().is_none());
        let Some(asked) = asked else {
            let shown: String = path.escape_debug().take(200).collect();
            return self.refuse(format!("/{shown}"), "nothing that a client of an index asks for");
        };
        let variant = Variant::wanted(headers);
        let place = asked.place(variant);
        let found = self.recording.find(&place);
        let is_of_another = found.as_ref().is_some_and(|entry| !self.is_own(&asked, entry));
        match (found, &self.recorder) {
            (Some(entry), _) if !is_of_another => {
                reply::recorded(&self.recording, &entry, (method, headers), &self.sending)
            }
            (_, Some(recorder)) => self.record(recorder, asked, variant, (method, headers)).await,
            (_, None) if is_of_another => self.refuse(format!("{} (recorded from another address)", asked.shown()), ""),
            (_, None) => self.refuse(asked.shown(), ""),
        }
    }

    /// True if an answer was recorded from the address that the mirror stands for now.
    fn is_own(&self, asked: &Asked, entry: &Entry) -> bool {
        match asked {
            Asked::Linked { .. } => true,
            Asked::Below { label, .. } => match self.identities.get(label) {
                Some(identity) => entry.upstream.as_ref() == Some(identity),
                None => self.recorder.is_none(),
            },
        }
    }

    /// The path without the secret; `None` if it has not the right one.
    fn behind_the_secret<'a>(&self, path: &'a str) -> Option<&'a str> {
        let (secret, rest) = path.strip_prefix('/')?.split_once('/')?;
        // These hashes are compared in constant time.
        (blake3::hash(secret.as_bytes()) == blake3::hash(self.secret.as_bytes())).then_some(rest)
    }

    fn refuse(&self, shown: String, why: &str) -> Response<Body> {
        match &self.recorder {
            Some(_) => self.counts.problem(format!("{shown}: {why}")),
            None => self.counts.missing(shown),
        }
        reply::status(404)
    }

    async fn record(
        &self,
        recorder: &Recorder,
        asked: Asked,
        variant: Variant,
        request: (&Method, &HeaderMap),
    ) -> Response<Body> {
        let place = asked.place(variant);
        let identity = match &asked {
            Asked::Below { label, .. } => self.identities.get(label).cloned(),
            Asked::Linked { .. } => None,
        };
        let wanted = match &asked {
            Asked::Linked { id, name } => self.linked(id, name).map(|(url, sha256)| (url, sha256, None)),
            Asked::Below { label, rest } => {
                let upstream = recorder.upstreams.iter().find(|upstream| upstream.label == *label);
                let sha256 = path::decoded(rest).and_then(|rest| recorder.digests.get(&rest).cloned());
                upstream.and_then(|upstream| Some((upstream.at(rest)?, sha256, Some(upstream.kind))))
            }
        };
        let Some((url, sha256, kind)) = wanted else {
            return self.refuse(asked.shown(), "no page that was asked for leads to it");
        };
        if kind == Some(UpstreamKind::Pages) {
            return match self.page(recorder, &asked, variant, (url, identity)).await {
                Ok(entry) => reply::recorded(&self.recording, &entry, request, &self.sending),
                Err((status, why)) => {
                    self.counts.problem(format!("{}: {why}", asked.shown()));
                    reply::status(status)
                }
            };
        }
        let state = recorder.transfers.follow(Wanted {
            place,
            upstream: identity,
            shown: asked.shown(),
            url,
            sha256,
        });
        reply::following(&self.recording, state, request, &self.sending).await
    }

    /// Where a file of a page is, or the metadata of a wheel, and its digest.
    fn linked(&self, id: &str, name: &str) -> Option<(url::Url, Option<String>)> {
        let link = self.recording.link(id)?;
        let mut url = url::Url::parse(&link.url).ok()?;
        if name == link.name {
            return Some((url, link.sha256));
        }
        if name.strip_suffix(".metadata") != Some(&link.name) {
            return None;
        }
        let path = format!("{}.metadata", url.path());
        url.set_path(&path);
        Some((url, link.metadata_sha256))
    }

    /// Fetches and keeps a page.
    async fn page(
        &self,
        recorder: &Recorder,
        asked: &Asked,
        variant: Variant,
        (url, identity): (url::Url, Option<String>),
    ) -> Result<Entry, (u16, String)> {
        let _slot = recorder.pages.acquire().await;
        let (client, recording, counts) = (
            Arc::clone(&recorder.client),
            Arc::clone(&self.recording),
            Arc::clone(&self.counts),
        );
        let (place, way_up, shown) = (asked.place(variant), asked.way_up(), asked.shown());
        let fetched = tokio::task::spawn_blocking(move || {
            let entry = Entry {
                place,
                upstream: identity,
                status: 0,
                blob: None,
                media_type: String::new(),
                cache_control: None,
                gzip: None,
                links: None,
            };
            let (entry, left_out) = fetch_page(&client, &recording, (entry, &way_up), variant, &url)?;
            if left_out > 0 {
                counts.problem(format!(
                    "{shown}: {left_out} links are left out, because they hold what may be a secret or lead where none may"
                ));
            }
            Ok(entry)
        });
        fetched
            .await
            .unwrap_or_else(|_| Err((502, "the mirror failed".to_owned())))
    }
}

/// Completes an entry with the answer.
fn fetch_page(
    client: &Client,
    recording: &Recording,
    (mut entry, way_up): (Entry, &str),
    variant: Variant,
    url: &url::Url,
) -> Result<(Entry, usize), (u16, String)> {
    let bad = |why: String| (502, why);
    let mut answer = client.get(url, Some(variant.accept())).map_err(bad)?;
    entry.status = answer.status;
    entry.cache_control = answer.cache_control.take();
    let mut left_out = 0;
    match answer.status {
        200 => {
            let mut body = Vec::new();
            let read = (&mut answer.body).take(page::MAX_BYTES + 1).read_to_end(&mut body);
            read.map_err(|error| bad(format!("it ended early: {}", error.kind())))?;
            if body.len() as u64 > page::MAX_BYTES {
                return Err(bad(format!("it has more than {} MiB", page::MAX_BYTES >> 20)));
            }
            if let Some(length) = answer.length.filter(|length| *length != body.len() as u64) {
                return Err(bad(format!("it ended after {} of {length} bytes", body.len())));
            }
            let page = Page::read(&body, &answer.media_type, &answer.at, way_up).map_err(bad)?;
            left_out = page.left_out;
            keep_page(recording, &mut entry, page).map_err(|why| (507, why.to_string()))?;
        }
        404 | 410 => {}
        status => return Err((passed_on(status), format!("the upstream answered {status}"))),
    }
    recording.keep(entry.clone()).map_err(|why| (507, why.to_string()))?;
    Ok((entry, left_out))
}

fn keep_page(recording: &Recording, entry: &mut Entry, page: Page) -> Result<(), crate::recording::Unkept> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&page.text)?;
    entry.gzip = Some(recording.keep_bytes(&packed.finish()?)?);
    entry.blob = Some(recording.keep_bytes(&page.text)?);
    let links = serde_json::to_vec(&page.links).map_err(std::io::Error::other)?;
    entry.links = Some(recording.keep_bytes(&links)?);
    entry.media_type = page.media_type;
    recording.learn(page.links);
    Ok(())
}
