//! The background task that writes a trace. It waits for notes, and asks the driver what an environment is made of if a line
//! lacks that.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_model::contents::Contents;
use hybrid_cache_sizing::Volume;
use hybrid_cache_sizing::trace::{Definition, Header, Met, ResidentEnvironment, ResidentVolume, VERSION};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::trace::contents_source::ContentsSource;
use crate::trace::files::{Lack, Supplement, TraceFolder};
use crate::trace::line::{Line, definition, now_us, rest, volume_contents};
use crate::trace::warnings::Warnings;

/// Requests whose environments are remembered, for requests that used them before they were published.
const MAX_REMEMBERED: usize = 4096;
/// How long a request waits for its environment to be published before it is left out.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two checks whether it was.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Lines that may wait for something. If there are more, the oldest are left out.
const MAX_WAITING: usize = 4096;

/// What the writer receives.
pub enum WriterMessage {
    /// A request to write.
    Note(Box<Line>),
    /// Write everything, then report.
    Flush(oneshot::Sender<()>),
}

/// Writes a trace.
pub struct Writer {
    folder: Option<TraceFolder>,
    max_age_s: u64,
    contents: Arc<dyn ContentsSource>,
    warnings: Arc<Warnings>,
    queue: VecDeque<Line>,
    environments: HashMap<String, String>,
    /// When the contents were last listed.
    listed: Option<Instant>,
    lack: Lack,
    waits_since: Instant,
}

impl Writer {
    /// A writer that has written nothing yet.
    pub fn new(
        folder: TraceFolder,
        max_age_s: u64,
        contents: Arc<dyn ContentsSource>,
        warnings: Arc<Warnings>,
    ) -> Writer {
        Writer {
            folder: Some(folder),
            max_age_s,
            contents,
            warnings,
            queue: VecDeque::new(),
            environments: HashMap::new(),
            listed: None,
            lack: Lack::Nothing,
            waits_since: Instant::now(),
        }
    }

    /// Writes until every sender is gone.
    pub async fn run(mut self, mut messages: mpsc::Receiver<WriterMessage>) {
        loop {
            let next_check = Instant::now() + CHECK_INTERVAL;
            let message = tokio::select! {
                message = messages.recv() => message.map(Some),
                () = tokio::time::sleep_until(next_check), if self.lack != Lack::Nothing => Some(None),
            };
            let mut flushed = Vec::new();
            let is_last = message.is_none();
            self.take(message.flatten(), &mut flushed);
            while let Ok(message) = messages.try_recv() {
                self.take(Some(message), &mut flushed);
            }
            self.write(is_last || !flushed.is_empty()).await;
            for done in flushed {
                // An error means that the caller no longer waits.
                let _ = done.send(());
            }
            if is_last {
                return;
            }
        }
    }

    fn take(&mut self, message: Option<WriterMessage>, flushed: &mut Vec<oneshot::Sender<()>>) {
        match message {
            Some(WriterMessage::Note(line)) => {
                self.remember(&line);
                self.queue.push_back(*line);
                if self.queue.len() > MAX_WAITING {
                    self.queue.pop_front();
                    let warning = "what environments are made of was not known in time: requests are left out";
                    self.warnings.add(|| warning.to_owned());
                }
            }
            Some(WriterMessage::Flush(done)) => flushed.push(done),
            None => {}
        }
    }

    /// Remembers the environment of a request.
    fn remember(&mut self, line: &Line) {
        if let Some(asked) = &line.uses[Volume::Python.index()]
            && let Some(environment) = &asked.environment
        {
            if self.environments.len() >= MAX_REMEMBERED {
                self.environments.clear();
            }
            self.environments.insert(asked.request.clone(), environment.clone());
        }
    }

    /// Names the environments of requests that used them before they were published, and describes them by what a later line
    /// says of them.
    fn complete(&mut self) {
        for line in &mut self.queue {
            if let Some(asked) = &mut line.uses[Volume::Python.index()]
                && asked.environment.is_none()
            {
                let known = self.environments.get(&asked.request).cloned();
                asked.environment = known.or_else(|| self.contents.environment_of(&line.tenant, &asked.key));
            }
        }
        if self.queue.len() < 2 {
            return;
        }
        let mut described: HashMap<(usize, String), Definition> = HashMap::new();
        for (volume, asked) in self
            .queue
            .iter_mut()
            .flat_map(|line| line.uses.iter_mut().enumerate())
            .rev()
        {
            let Some(asked) = asked else { continue };
            let Some(environment) = &asked.environment else {
                continue;
            };
            match &asked.made_of {
                Some(made_of) => drop(described.insert((volume, environment.clone()), made_of.clone())),
                None => asked.made_of = described.get(&(volume, environment.clone())).cloned(),
            }
        }
    }

    /// Writes what can be written. The last call waits for nothing that may come later.
    async fn write(&mut self, is_last: bool) {
        let mut supplement = Supplement::default();
        loop {
            self.complete();
            let Some(lack) = self.append(&mut supplement).await else {
                return;
            };
            if self.lack != lack {
                (self.lack, self.waits_since) = (lack, Instant::now());
            }
            let may_list = supplement.contents.is_none() && (is_last || self.may_list());
            match lack {
                Lack::Nothing => return,
                Lack::Header | Lack::Definition if may_list => {
                    let contents = self.list().await;
                    supplement.header = Some(self.header(&contents));
                    supplement.contents = Some(contents);
                }
                Lack::Header if supplement.contents.is_some() => {
                    supplement.header = supplement.contents.as_ref().map(|contents| self.header(contents));
                }
                // An environment that is gone now will not come back.
                Lack::Definition if supplement.contents.is_some() => supplement.leaves_out_undefined = true,
                Lack::Environment if is_last || self.waits_since.elapsed() > PUBLISH_TIMEOUT => {
                    supplement.leaves_out_unpublished = true;
                }
                Lack::Header | Lack::Definition | Lack::Environment => return,
            }
        }
    }

    fn may_list(&self) -> bool {
        self.listed
            .is_none_or(|listed| listed.elapsed() >= self.contents.pause())
    }

    /// Appends in a thread of its own, because file operations block. `None` if that failed.
    async fn append(&mut self, supplement: &mut Supplement) -> Option<Lack> {
        let mut folder = self.folder.take()?;
        let (mut queue, mut at_hand) = (std::mem::take(&mut self.queue), std::mem::take(supplement));
        let appending = tokio::task::spawn_blocking(move || {
            let lack = folder.append(&mut queue, &mut at_hand);
            (folder, queue, at_hand, lack)
        });
        // An error means a panic, or that the runtime ends. Nothing is recorded from then on.
        let (folder, queue, at_hand, lack) = appending.await.ok()?;
        let path = folder.path().to_owned();
        (self.folder, self.queue, *supplement) = (Some(folder), queue, at_hand);
        match lack {
            Ok(lack) => Some(lack),
            Err(error) => {
                self.queue.clear();
                self.lack = Lack::Nothing;
                self.warnings.add(|| {
                    format!(
                        "requests are not recorded for `cargo xtask size`: {}: {error}; tasks are not affected\n\
                         hint: free space or repair the folder, or record nothing with `--no-trace`",
                        path.display()
                    )
                });
                None
            }
        }
    }

    /// What the volumes hold; nothing if they cannot be listed.
    async fn list(&mut self) -> Contents {
        self.listed = Some(Instant::now());
        match self.contents.contents().await {
            Ok(contents) => contents,
            Err(failure) => {
                let warning = format!("the trace does not say what the caches held when it began: {failure}");
                self.warnings.add(|| warning);
                Contents::default()
            }
        }
    }

    /// The header of a file that begins now. Environments that a line in the queue has built did not exist before.
    fn header(&self, contents: &Contents) -> Header {
        let resident = |volume: Volume| {
            let listed = volume_contents(contents, volume)?;
            let is_new = |name: &str| {
                let mut uses = self.queue.iter().filter_map(|line| line.uses[volume.index()].as_ref());
                uses.any(|asked| asked.met != Met::Hit && asked.environment.as_deref() == Some(name))
            };
            let there = listed.environments.iter().filter(|one| !is_new(&one.name));
            Some(ResidentVolume {
                rest: rest(listed),
                environments: there
                    .map(|one| ResidentEnvironment {
                        environment: one.name.clone(),
                        used_us: one.used_us,
                        made_of: definition(listed, one),
                    })
                    .collect(),
            })
        };
        let first = self.queue.front().map_or_else(now_us, |line| line.at_us);
        Header {
            hybrid_cache_trace: VERSION,
            begun_us: first,
            max_age_s: Some(self.max_age_s),
            python: resident(Volume::Python),
            system: resident(Volume::System),
        }
    }
}
